"""LangOcc's network (Boeder et al., 3DV 2025): six cameras over time to voxels with words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.backbones import build_backbone, feature_channels, first_map
from occ_perception.blocks.lift.lss import image_frustum, unproject_frustum
from occ_perception.blocks.lift.stereo_depth_net import StereoDepthNet
from occ_perception.blocks.lift.temporal_stereo import match_earlier, sweep_maps, sweep_positions
from occ_perception.blocks.lift.voxel_pool import PoolPlan, plan_pool, pool_voxels
from occ_perception.blocks.necks.fpn import FPN
from occ_perception.geometry.precision import single_precision
from occ_perception.rendering.feature_rays import read_volume
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.encoder import VolumeEncoder, residual_stage
from occ_perception.systems.langocc.geometry import SurroundGeometry
from occ_perception.systems.langocc.heads import FoldedPrompts, PointHead
from occ_perception.systems.langocc.reducer import ClipReducer

_LEVELS = (1, 3, 4)  # stride 4 for stereo, strides 16 and 32 for everything else
LIFTED = 2  # the current frame and the one before; a third is only matched with
FREE = 17


class KeyFrame(NamedTuple):
    """What the images of one key frame leave behind; the next frames need nothing else of them.

    Attributes:
        maps: Image features.
        stereo: Fine features to match with.
        cost: Depth distribution from matching with the frame before, None before it is known.
    """

    maps: Float[Tensor, "b n c h w"]
    stereo: Float[Tensor, "b n c hs ws"]
    cost: Float[Tensor, "b n d hs ws"] | None = None


@dataclass(frozen=True, eq=False)
class LangOccPlan:
    """Everything that depends on calibration and motion alone.

    Attributes:
        cameras: `[B, N, 27]` camera vectors.
        sweeps: `[B, 2, N, 3, 4]` maps from frame 0 to 1 and from 1 to 2.
        pools: Which pixel and depth bin of frame 0 and of frame 1 belongs to which voxel.
    """

    cameras: Float[Tensor, "b n 27"]
    sweeps: Float[Tensor, "b e n 3 4"]
    pools: tuple[PoolPlan, ...]


class LangOccFields(NamedTuple):
    """What is rendered in training.

    Attributes:
        density: 0..1, per metre.
        vectors: Unit vectors in CLIP's space or in the subspace.
    """

    density: Float[Tensor, "b 1 x y z"]
    vectors: Float[Tensor, "b c x y z"]


class LangOccPrediction(NamedTuple):
    """The answer at inference.

    Attributes:
        labels: Class ids, 17 = free.
        density: 0..1, per metre.
    """

    labels: UInt8[Tensor, "b x y z"]
    density: Float[Tensor, "b x y z"]


class LangOcc(nn.Module):
    """The network of the paper's overview figure.

    Args:
        config: Sizes; the default is the published model "Full".
    """

    def __init__(self, config: LangOccConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(
            config.backbone, _LEVELS, config.backbone_widths, config.backbone_depths
        )
        channels = feature_channels(self.backbone)[1:]
        self.neck = FPN(channels, config.neck_channels, outputs=1)
        self.depth_net = StereoDepthNet(
            config.neck_channels,
            config.neck_channels,
            config.context_channels,
            config.bins,
            config.aspp_channels,
        )
        width = config.context_channels
        self.pre_process = residual_stage(width, width, blocks=1, stride=1)
        self.encoder = VolumeEncoder(
            LIFTED * width, config.stage_channels, config.stage_blocks, width
        )
        self.final = nn.Sequential(
            nn.Conv3d(width, config.scene_channels, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.density_head = PointHead(config.scene_channels, 1)
        self.language_head = PointHead(config.scene_channels, config.language_channels)
        # Fitted to the vocabulary beforehand and never trained here.
        self.reducer = (
            ClipReducer(config.clip_channels, config.language_channels).requires_grad_(False)
            if config.is_reduced
            else None
        )
        depths = config.depth_min_m + config.depth_step_m * torch.arange(config.bins)
        for name, size in (("frustum", config.map_size), ("fine_frustum", config.stereo_size)):
            frustum = image_frustum(config.input_size, size, depths)
            self.register_buffer(name, frustum, persistent=False)
        is_coarse = config.volume.shape != config.shape
        centres = config.grid.centers() if is_coarse else None
        self.register_buffer("centres", centres, persistent=False)

    @torch.no_grad()
    def plan(self, geometry: SurroundGeometry) -> LangOccPlan:
        """Work out what depends on calibration and motion alone.

        Args:
            geometry: Three key frames; kept on the CPU it is checked without waiting for a GPU.

        Raises:
            CalibrationError: The calibration cannot be used.
        """
        geometry.check()
        with single_precision(self.frustum):
            return self._planned(geometry)

    def _planned(self, geometry: SurroundGeometry) -> LangOccPlan:
        sweeps = sweep_maps(
            geometry.K[:, :-1],
            geometry.T_earlier_now(),
            geometry.image_transform[:, :-1],
            self.config.input_size,
        )
        device = self.frustum.device
        pools = (
            plan_pool(self.points(geometry, frame), self.config.volume) for frame in range(LIFTED)
        )
        return LangOccPlan(geometry.camera_vectors().to(device), sweeps.to(device), tuple(pools))

    def points(self, geometry: SurroundGeometry, frame: int) -> Float[Tensor, "b n d h w 3"]:
        """Every depth bin of every feature pixel of a frame in the grid's frame, metres."""
        device = self.frustum.device
        pose = geometry.T_key_cam()[:, frame].to(device)
        fit = geometry.image_transform[:, frame].float().to(device)
        shift = F.pad(fit[..., :2, 2], (0, 1))
        fit = fit.clone()
        fit[..., :2, 2] = 0
        projection = torch.eye(4, device=device).repeat(*pose.shape[:2], 1, 1)
        projection[..., :3, :3] = geometry.K[:, frame].to(device)
        augmentation = geometry.augmentation.to(pose)
        rotation, translation = pose[..., :3, :3], pose[..., :3, 3]
        return unproject_frustum(
            self.frustum, projection, rotation, translation, fit, shift, augmentation
        )

    def look(self, images: Float[Tensor, "b n 3 h w"]) -> KeyFrame:
        """Features of one key frame."""
        stereo, *maps = self.backbone(images.flatten(0, 1))
        (features,) = self.neck(maps)
        return KeyFrame(*(m.unflatten(0, images.shape[:2]) for m in (features, stereo)))

    @torch.no_grad()
    def glance(self, images: Float[Tensor, "b n 3 h w"]) -> Float[Tensor, "b n c hs ws"]:
        """Only what the frame after this one is matched with."""
        return first_map(self.backbone, images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def match(
        self,
        frame: KeyFrame,
        earlier: Float[Tensor, "b n c hs ws"] | None,
        sweep: Float[Tensor, "b n 3 4"],
    ) -> KeyFrame:
        """The frame with its depth distribution from the frame before.

        Args:
            frame: A key frame.
            earlier: Fine features of the frame before; None = there is none, the cost is zero.
            sweep: From the frame to the one before.
        """
        batch = frame.stereo.shape[:2]
        if earlier is None:
            size = (*batch, self.config.bins, *self.config.stereo_size)
            return frame._replace(cost=frame.stereo.new_zeros(size))
        positions = sweep_positions(self.fine_frustum, sweep.flatten(0, 1))
        now, before = frame.stereo.flatten(0, 1), earlier.flatten(0, 1)
        cost = match_earlier(now, before, positions, self.config.match_group)
        return frame._replace(cost=cost.unflatten(0, batch))

    def lift(
        self, frame: KeyFrame, cameras: Float[Tensor, "b n 27"], pool: PoolPlan
    ) -> Float[Tensor, "b c x y z"]:
        """Voxel features of one matched key frame, in the current grid."""
        batch = frame.maps.shape[:2]
        tensors = (frame.maps, frame.cost, cameras)
        logits, context = self.depth_net(*(t.flatten(0, 1) for t in tensors))
        depth = logits.float().softmax(dim=1).unflatten(0, batch)
        return self.pre_process(pool_voxels(depth, context.unflatten(0, batch), pool))

    def scene(
        self, now: KeyFrame, before: KeyFrame, plan: LangOccPlan
    ) -> Float[Tensor, "b c x y z"]:
        """Voxel features from two matched key frames."""
        with torch.no_grad():
            past = self.lift(before, plan.cameras, plan.pools[1])
        present = self.lift(now, plan.cameras, plan.pools[0])
        return self.final(self.encoder(torch.cat([past, present], dim=1)))

    def forward(
        self, images: Float[Tensor, "b 3 n 3 h w"], plan: LangOccPlan
    ) -> Float[Tensor, "b c x y z"]:
        """Voxel features of three key frames: now, before, and the one before that.

        Args:
            images: Normalised images at the network's size.
            plan: From `plan` for their cameras.
        """
        now = self.look(images[:, 0])
        with torch.no_grad():
            before, oldest = self.look(images[:, 1]), self.glance(images[:, 2])
        now = self.match(now, before.stereo, plan.sweeps[:, 0])
        before = self.match(before, oldest, plan.sweeps[:, 1])
        return self.scene(now, before, plan)

    def fields(self, scene: Float[Tensor, "b c x y z"]) -> LangOccFields:
        """Density and vectors of all voxels, for rendering.

        Args:
            scene: From `forward`.
        """
        features = scene.movedim(1, -1)
        density = self.density_head(features).float().sigmoid()
        vectors = F.normalize(self.language_head(features).float(), dim=-1)
        return LangOccFields(density.movedim(-1, 1), vectors.movedim(-1, 1))

    @torch.no_grad()
    def predict(
        self, scene: Float[Tensor, "b c x y z"], prompts: FoldedPrompts
    ) -> LangOccPrediction:
        """Labels; words are only asked for where something is.

        Args:
            scene: From `forward`.
            prompts: From `heads.fold_prompts` with the language head.
        """
        density = self.density_head(scene.movedim(1, -1)).float().sigmoid().movedim(-1, 1)
        density = self.at_labels(density)[:, 0]
        occupied = density >= self.config.free_below
        labels = torch.full_like(density, FREE, dtype=torch.uint8)
        features = self._features_of(scene, occupied)
        labels[occupied] = prompts.classify(self.language_head.hidden(features))
        return LangOccPrediction(labels, density)

    def at_labels(self, volume: Float[Tensor, "b c _ _ _"]) -> Float[Tensor, "b c x y z"]:
        """A computed volume where the labels are: as it is rendered, at their voxels' centres."""
        if self.centres is None:
            return volume
        points = self.centres.flatten(0, 1).expand(len(volume), -1, -1, -1)
        values = read_volume(volume, points, self.config.volume)
        return values.movedim(-1, 1).unflatten(2, self.config.shape[:2])

    def at_voxels(
        self, volume: Float[Tensor, "b 1 _ _ _"], voxels: Int[Tensor, "b n"]
    ) -> Float[Tensor, "b n"]:
        """A computed volume at some voxels of the labels, given as flat indices."""
        if self.centres is None:
            return volume.flatten(1).gather(1, voxels)
        points = self.centres.flatten(0, 2)[voxels]
        return read_volume(volume, points[:, None], self.config.volume)[:, 0, :, 0]

    def _features_of(
        self, scene: Float[Tensor, "b c _ _ _"], occupied: Bool[Tensor, "b x y z"]
    ) -> Float[Tensor, "n c"]:
        """Features at the occupied voxels of the labels."""
        if self.centres is None:
            return scene.movedim(1, -1)[occupied]
        volumes = zip(scene.split(1), occupied, strict=True)
        points = ((one, self.centres[there][None, None]) for one, there in volumes)
        return torch.cat([read_volume(*each, self.config.volume)[0, 0] for each in points])
