"""The training loop: samples in, a trained network and its checkpoints out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object
from torch import Tensor, nn

from occ_perception.core.errors import ConfigError
from occ_training.data.bag_dataset import ShuffledOrder
from occ_training.engine.checkpointing import Checkpoint, CheckpointError, CheckpointFolder
from occ_training.engine.ema import Ema
from occ_training.engine.loading import batches_of
from occ_training.engine.logging import RunLog, Stopwatch, memory_gb
from occ_training.engine.recipe import LoopConfig, Recipe, plain
from occ_training.engine.resume import check_resume
from occ_training.engine.seeds import random_state, restore_random_state, seed_all
from occ_training.engine.tolerance import FailureCount, Loaded

_MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_NAN_LIMIT = 5  # steps in a row without a finite gradient


class Trainer:
    """One run of a recipe; `fit` starts it or goes on with it.

    Args:
        recipe: What is trained.
        config: How the loop runs.
    """

    def __init__(self, recipe: Recipe, config: LoopConfig) -> None:
        self.recipe, self.config = recipe, config
        on_gpu = config.device != "cpu" and torch.cuda.is_available()
        if config.precision == "fp16" and not on_gpu:
            raise ConfigError("fp16 needs a GPU; on a CPU train in bf16, or in fp32")
        self._accelerator = Accelerator(
            mixed_precision=_MIXED[config.precision],
            cpu=not on_gpu,  # said outright, or processes on CPUs do not find each other
            # Networks with parts that only some losses or no loss at all reach.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        ranks, self._rank = self._accelerator.num_processes, self._accelerator.process_index
        self.settings = {
            "recipe": dict(recipe.config),
            "loop": plain(config),
            "processes": ranks,
            "samples": len(recipe.dataset),
        }
        self.folder = CheckpointFolder(config.output, config.keep)
        self._order = ShuffledOrder(len(recipe.dataset), config.seed, rank=self._rank, ranks=ranks)
        self.epoch_steps = len(recipe.dataset) // ranks // (config.batch_size * config.accumulate)
        if not self.epoch_steps:
            raise ConfigError(
                f"{len(recipe.dataset)} samples do not fill one batch of {config.batch_size} x "
                f"{config.accumulate} in {ranks} processes; give more data or smaller batches"
            )
        longest = config.epochs * self.epoch_steps
        self.total_steps = min(config.steps or longest, longest)
        seed_all(config.seed, self._rank)
        self.step = 0
        self.best_score: float | None = None
        self._failures, self._nan_steps = FailureCount(config.damaged), 0
        self._network, self._optimizer = self._accelerator.prepare(recipe.network, recipe.optimizer)
        self._base_rates = [group["lr"] for group in self._optimizer.param_groups]
        self._ema = Ema(recipe.ema, self.network) if recipe.ema else None

    @property
    def network(self) -> nn.Module:
        """The network without the wrapper of several processes."""
        return self._accelerator.unwrap_model(self._network)

    @property
    def leads(self) -> bool:
        """Whether this is the one process of several that writes and talks."""
        return self._accelerator.is_main_process

    @property
    def epoch(self) -> int:
        """Pass over the data that the next step belongs to."""
        return self.step // self.epoch_steps

    def resume(self) -> bool:
        """Go on from the newest checkpoint; False if there is none.

        Raises:
            CheckpointError: It is of another run, or cannot be read.
        """
        checkpoint = self.folder.newest()
        if checkpoint is None:
            return False
        check_resume(checkpoint.config, self.settings)
        try:
            self.network.load_state_dict(checkpoint.model)
            self._optimizer.load_state_dict(checkpoint.training["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"the checkpoint is of another network: {error}") from None
        if self._ema:
            self._ema.load(checkpoint.ema, checkpoint.state["ema_updates"])
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(checkpoint.training["scaler"])
        restore_random_state(checkpoint.training["random"][self._rank])
        self.step = checkpoint.step
        self.best_score = checkpoint.state["best_score"]
        self._failures.seen.update(checkpoint.state["failures"])
        return True

    def fit(self) -> None:
        """Train from where we are to the end.

        Raises:
            OccError: Damaged data, a full disk, gradients that are not finite.
        """
        with RunLog(self.config.output, self.total_steps, self.step, active=self.leads) as log:
            while self.step < self.total_steps:
                self._run_epoch(log)
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()  # threads of the process group must not outlive it

    def try_one_step(self) -> tuple[dict[str, float], dict[str, float], float]:
        """One step that nothing keeps: its losses, where its time went, memory in GB."""
        watch, batches = Stopwatch(), self._batches()
        self._network.train()
        terms = self._change_weights(batches, watch)
        return terms, watch.lap(), memory_gb(self._accelerator.device)

    def _run_epoch(self, log: RunLog) -> None:
        watch, batches = Stopwatch(), self._batches()
        last_of_epoch = min((self.epoch + 1) * self.epoch_steps, self.total_steps)
        self._network.train()
        while self.step < last_of_epoch:
            terms = self._change_weights(batches, watch)
            self.step += 1
            if self.step % self.config.log_every == 0 or self.step == self.total_steps:
                self._tell(log, terms, watch.lap())
            every = self.config.checkpoint_every
            if every and self.step % every == 0 and self.step < last_of_epoch:
                self.save()
        score = self._validated(log)
        is_best = score is not None and (self.best_score is None or score > self.best_score)
        self.best_score = score if is_best else self.best_score
        self.save(best=is_best)

    def _change_weights(self, batches: Iterator[Loaded[Any]], watch: Stopwatch) -> dict[str, float]:
        """One step: as many passes as are accumulated, then one change of the weights."""
        self._set_rates()
        sums: dict[str, Tensor] = {}
        for part in range(self.config.accumulate):
            watch.data_wanted()
            batch, failures = next(batches)
            watch.data_came(self.config.batch_size * self._accelerator.num_processes)
            self._failures.add(failures)
            is_last = part == self.config.accumulate - 1
            alone = (
                contextlib.nullcontext() if is_last else self._accelerator.no_sync(self._network)
            )
            with alone, self._accelerator.autocast():
                terms = self.recipe.losses(self._network, batch.to(self._accelerator.device))
                total = torch.stack([term.float() for term in terms.values()]).sum()
                self._accelerator.backward(total / self.config.accumulate)
            for name, term in {**terms, "total": total}.items():
                value = term.detach().float() / self.config.accumulate
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
        self._apply_gradient(sums)
        return {name: float(value) for name, value in sums.items()}

    def _apply_gradient(self, terms: dict[str, Tensor]) -> None:
        # The norm is of the summed gradient, so all processes take the same decision.
        limit = self.config.clip_norm or math.inf
        norm = self._accelerator.clip_grad_norm_(self._network.parameters(), limit)
        is_finite = bool(norm.isfinite())
        self._nan_steps = 0 if is_finite else self._nan_steps + 1
        if self._nan_steps > _NAN_LIMIT and self._accelerator.scaler is None:
            bad = [name for name, value in terms.items() if not value.isfinite()]
            raise ConfigError(
                f"no finite gradient in {self._nan_steps} steps up to step {self.step}; losses not "
                f"finite: {', '.join(bad) or 'none'}; lower the learning rate or use fp32"
            )
        if is_finite or self._accelerator.scaler is not None:  # the scaler skips such steps itself
            self._optimizer.step()
            if self._ema:
                self._ema.update(self.network)
        self._optimizer.zero_grad()
        terms["gradient"] = norm.detach().float()

    def _set_rates(self) -> None:
        factor = self.recipe.schedule.factor(self.step, self.epoch)
        for group, rate in zip(self._optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor

    def _batches(self) -> Iterator[Loaded[Any]]:
        """The rest of this epoch."""
        done = self.step % self.epoch_steps
        self._order.set_epoch(self.epoch, done * self.config.batch_size * self.config.accumulate)
        pinned = self._accelerator.device.type == "cuda"
        return batches_of(self.recipe, self._order, self.config, self.epoch, pinned=pinned)

    def _tell(self, log: RunLog, terms: dict[str, float], lap: dict[str, float]) -> None:
        rate, memory = self._optimizer.param_groups[0]["lr"], memory_gb(self._accelerator.device)
        log.values(self.step, {**terms, **lap, "rate": rate, "memory_gb": memory})
        log.advance(
            self.step,
            f"loss {terms['total']:.3f}  {lap['samples_per_s']:.2f} samples/s  "
            f"{memory:.1f} GB  waiting {lap['data_wait']:.0%}",
        )

    def _validated(self, log: RunLog) -> float | None:
        if self.recipe.validate is None:
            return None
        scores = self.recipe.validate(self.network)
        log.values(self.step, scores, "validation")
        log.say(f"step {self.step}: " + "  ".join(f"{k} {v:.4f}" for k, v in scores.items()))
        return scores.get(self.recipe.best)

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint of the present state.

        Raises:
            CheckpointError: The disk is full or cannot be written to.
        """
        states = gather_object([random_state()])
        if not self.leads:
            return
        scaler = self._accelerator.scaler
        checkpoint = Checkpoint(
            step=self.step,
            model=self.network.state_dict(),
            training={
                "optimizer": self._optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler else {},
                "random": states,
            },
            state={
                "epoch": self.epoch,
                "version": version("occ_perception"),
                "best_score": self.best_score,
                "failures": sorted(self._failures.seen),
                "ema_updates": self._ema.updates if self._ema else 0,
            },
            config=self.settings,
            ema=self._ema.state if self._ema else {},
        )
        self.folder.save(checkpoint, best=best)
