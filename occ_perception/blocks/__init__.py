"""Network blocks shared by the systems: backbones, necks, lifts, sparse and dense 3D parts."""
