"""Types that every part of the package speaks: grids, cameras, frames, labels, errors."""
