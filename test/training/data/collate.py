"""What workers of a DataLoader do; spawned ones must be able to import it."""


def read_stamp(sample):
    return sample.scene, sample.stamp_ns, int(sample.views[0].frame.image.sum())


def keep_stamps(samples):
    return [read_stamp(sample) for sample in samples]


def draw_number(sample, rng):
    return int(rng.integers(1 << 30))
