"""What `occ eval --help` says of each benchmark."""

from __future__ import annotations

from collections.abc import Mapping

SAID: Mapping[str, str] = {
    "completion": "classes per voxel within 12.8, 25.6, 51.2 m (SemanticKITTI, SSCBench-KITTI-360)",
    "geometry": "occupied or free per voxel, whatever the classes",
    "geometry_in_view": "the same inside the first camera's image",
    "occ3d": "Occ3D-nuScenes inside the camera mask, 17 classes (LangOcc)",
    "occ3d_15": "the same without 'others' and 'other flat' (GaussianFlowOcc)",
    "rayiou": "class and distance, to 1, 2, 4 m, where rays from the LiDAR hit (Occ3D)",
    "sscbench15": "SSCBench-KITTI-360 in 15 classes inside the image (SceneDINO)",
    "voxel_occupancy": "occupied or free in a corridor ahead, and beyond what the image sees",
    "lidar_occupancy": "a horizontal slice of the field against LiDAR scans (BTS, KYN, ViPOcc)",
    "depth": "rendered depth against one LiDAR scan, metres",
    "predicted_depth": "the same of the depth branch (ViPOcc)",
    "depth_eigen": "rendered depth by KITTI Raw's protocol: Eigen's crop and range",
    "segmentation": "classes per pixel against KITTI-360's or Cityscapes' class images (SceneDINO)",
    "segmentation_crf": "the same after a dense CRF",
    "segmentation_bdd100k": "classes per pixel against BDD100K's class images",
}
ABOUT_BENCHMARKS = "\n".join(f"  {name:20} {text}" for name, text in SAID.items())
