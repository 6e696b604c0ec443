"""Sensor rigs with the real numbers: skew axes, unequal stereo, unequal stamps.

The base frame is x forward, y left, z up, on the ground: below the velodyne for the KITTI
rigs, below the rear axle for nuScenes and Cityscapes.
"""

from __future__ import annotations

import numpy as np

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import R_BODY_OPTICAL, inverse, rotation_rpy
from occ_training.world.lenses import Lens, Mei, Pinhole
from occ_training.world.sensors import Lidar, Matrix, Rig, RigCamera

VELODYNE_HEIGHT_M = 1.73

SEMANTICKITTI_GRID = GridSpec((0.0, -25.6, -2.0), (0.2, 0.2, 0.2), (256, 256, 32), "velodyne")
OCC3D_GRID = GridSpec((-40.0, -40.0, -1.0), (0.4, 0.4, 0.4), (200, 200, 16), "ego")


def _pose(R: Matrix, t: tuple[float, ...] | Matrix) -> Matrix:
    """Rigid pose; the rotation is projected to SO(3), text matrices are not exact."""
    u, _, vt = np.linalg.svd(R)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = u @ vt, t
    return T


def _velodyne_in_base() -> Matrix:
    return _pose(np.eye(3), (0.0, 0.0, VELODYNE_HEIGHT_M))


def _hdl64(preset: str, T_base_lidar: Matrix) -> Lidar:
    """HDL-64: the stamp is the middle of the turn, when the beam faces forward."""
    columns = {"tiny": 521, "small": 1042, "full": 2083}[preset]
    rings = np.deg2rad(np.linspace(-24.8, 2.0, 64))
    return Lidar("velodyne", rings, columns, T_base_lidar, 0.1, -0.05, np.pi)


_KITTI_CAR = (((0.0, 0.0, 0.62), (2.1, 0.88, 0.37)), ((-0.85, 0.0, 1.22), (1.1, 0.72, 0.25)))
# Principal rows of P0..P3 and Tr as published for sequences 04-12 and 00-02.
_KITTI = {
    "kitti": ((1226, 370), 707.0912, (601.8873, 183.1104),
              ((0, 0, 0), (-379.8145, 0, 0), (46.88783, 0.1178601, 0.006203223),
               (-333.4597, 1.930130, 0.003318498)),
              ((-0.00185774, -0.99996595, -0.00803998, -0.00478403),
               (-0.00648147, 0.00805186, -0.99994661, -0.07337429),
               (0.99997731, -0.00180553, -0.00649620, -0.33399681))),
    "kitti00": ((1241, 376), 718.856, (607.1928, 185.2157),
                ((0, 0, 0), (-386.1448, 0, 0), (45.38225, -0.1130887, 0.003779761),
                 (-337.2877, 2.369057, 0.004915215)),
                ((0.00042768, -0.99996725, -0.00808449, -0.01198460),
                 (-0.00721062, 0.00808120, -0.99994132, -0.05403985),
                 (0.99997386, 0.00048595, -0.00720693, -0.29219686))),
}  # fmt: skip


def _kitti(name: str, preset: str) -> Rig:
    (width, height), f, (cx, cy), fourth, tr = _KITTI[name]
    Tr = np.array(tr)
    T_base_cam0 = _velodyne_in_base() @ inverse(_pose(Tr[:, :3], Tr[:, 3]))
    K = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1.0]])
    cameras = []
    for i, column in enumerate(fourth):
        P = np.column_stack((K, column))
        T_cam0_cam = _pose(np.eye(3), -np.linalg.solve(K, np.array(column, dtype=np.float64)))
        lens: Lens = Pinhole(K, width, height)
        if preset != "full":
            quarter, half = (width // 4, height // 4), (width // 2, height // 2)
            lens = lens.resized(*(quarter if preset == "tiny" else half))
        cameras.append(RigCamera(f"image_{i}", lens, T_base_cam0 @ T_cam0_cam, 0.0, i < 2, P))
    lidar = _hdl64(preset, _velodyne_in_base())
    return Rig(name, tuple(cameras), lidar, SEMANTICKITTI_GRID, _velodyne_in_base(), 0.1038,
               2 if preset == "tiny" else 3, _KITTI_CAR)  # fmt: skip


# calib_cam_to_pose.txt (unrectified), R_rect and calib_cam_to_velo.txt of KITTI-360.
K360_CAM_TO_POSE = {
    "image_00": (0.0371783278, -0.0986182135, 0.9944306009, 1.5752681039,
                 0.9992675562, -0.0053553387, -0.0378902567, 0.0043914093,
                 0.0090621821, 0.9951109327, 0.0983468786, -0.6500000000),
    "image_01": (0.0194000864, -0.1051529641, 0.9942668106, 1.5977241400,
                 0.9997374956, -0.0100836652, -0.0205732716, 0.5981494900,
                 0.0121891942, 0.9944049345, 0.1049297370, -0.6488433108),
    "image_02": (0.9995185086, 0.0041276589, -0.0307524527, 0.7264036936,
                 -0.0307926666, 0.0100608424, -0.9994751579, -0.1499658517,
                 -0.0038160970, 0.9999408692, 0.0101830998, -1.0686400091),
    "image_03": (-0.9996821702, 0.0005703407, -0.0252038325, 0.7016842127,
                 -0.0252033830, 0.0007820814, 0.9996820384, 0.7463650950,
                 0.0005898709, 0.9999995315, -0.0007674583, -1.0751978255),
}  # fmt: skip
K360_CAM_TO_VELO = (0.04307104361, -0.08829286498, 0.995162929, 0.8043914418,
                     -0.999004371, 0.007784614041, 0.04392796942, 0.2993489574,
                     -0.01162548558, -0.9960641394, -0.08786966659, -0.1770225824)  # fmt: skip
K360_R_RECT = {
    "image_00": (0.999974, -0.007141, -0.000089, 0.007141, 0.999969, -0.003247, 0.000112,
                 0.003247, 0.999995),
    "image_01": (0.999778, -0.012115, 0.017222, 0.012059, 0.999922, 0.003351, -0.017261,
                 -0.003143, 0.999846),
}  # fmt: skip
_K360_MEI = {
    "image_02": (2.2134047507854890, 0.016798235660113681, 1.6548773243373522,
                 0.00042223943394772046, 0.00042462134260997584, 1336.3220825849971,
                 1335.7883350012958, 716.94323510126321, 705.76498308221585),
    "image_03": (2.5535139132482758, 0.049370396274089505, 4.5068455478645308,
                 0.0013477698472982495, -0.00070340482615055284, 1485.4388981875156,
                 1484.9477411748708, 698.88316784030962, 698.14541887723055),
}  # fmt: skip


def kitti360_pose_in_base() -> Matrix:
    """The KITTI-360 "pose" frame (x forward, y right, z down) in the base frame."""
    cam_to_pose, cam_to_velo = (
        np.array(rows).reshape(3, 4) for rows in (K360_CAM_TO_POSE["image_00"], K360_CAM_TO_VELO)
    )
    T_velo_cam = _pose(cam_to_velo[:, :3], cam_to_velo[:, 3])
    T_pose_cam = _pose(cam_to_pose[:, :3], cam_to_pose[:, 3])
    return _velodyne_in_base() @ T_velo_cam @ inverse(T_pose_cam)


def _kitti360(preset: str) -> Rig:
    T_base_pose = kitti360_pose_in_base()
    K = np.array([[552.554261, 0, 682.049453], [0, 552.554261, 238.769549], [0, 0, 1.0]])
    cameras = []
    for name, flat in K360_CAM_TO_POSE.items():
        rows = np.array(flat).reshape(3, 4)
        T = T_base_pose @ _pose(rows[:, :3], rows[:, 3])
        if name in _K360_MEI:
            xi, k1, k2, p1, p2, g1, g2, u0, v0 = _K360_MEI[name]
            gamma = np.array([[g1, 0, u0], [0, g2, v0], [0, 0, 1.0]])
            side = {"tiny": 175, "small": 350, "full": 1400}[preset]
            lens: Lens = Mei(xi, k1, k2, p1, p2, gamma, 1400, 1400).resized(side, side)
            cameras.append(RigCamera(name, lens, T))
            continue
        R_rect = np.eye(4)
        R_rect[:3, :3] = np.array(K360_R_RECT[name]).reshape(3, 3)
        size = {"tiny": (160, 48), "small": (640, 192), "full": (1408, 376)}[preset]
        fourth = (0.0 if name == "image_00" else -328.318735, 0.0, 0.0)
        P = np.column_stack((K, fourth))
        T_rect = T @ inverse(_pose(R_rect[:3, :3], (0.0, 0.0, 0.0)))
        if name == "image_01":  # rectified: exactly the left camera, moved along its own x
            left = cameras[0].T_base_cam
            T_rect = left @ _pose(np.eye(3), (328.318735 / 552.554261, 0.0, 0.0))
        cameras.append(RigCamera(name, Pinhole(K, 1408, 376).resized(*size), T_rect, P=P))
    lidar = _hdl64(preset, _velodyne_in_base())
    return Rig("kitti360", tuple(cameras), lidar, SEMANTICKITTI_GRID, _velodyne_in_base(), 0.1038,
               2 if preset == "tiny" else 3, _KITTI_CAR)  # fmt: skip


# Channel: f, cx, cy, position in ego, yaw and pitch down in degrees, stamp against LiDAR in ms.
_NUSCENES = {
    "CAM_FRONT": (1266.417, 816.267, 491.507, (1.701, 0.016, 1.511), 0.3, 0.3, -35.5),
    "CAM_FRONT_RIGHT": (1260.847, 807.968, 495.334, (1.551, -0.493, 1.496), -56.4, 0.8, -27.6),
    "CAM_BACK_RIGHT": (1259.514, 807.253, 501.196, (1.015, -0.481, 1.562), -110.8, 0.9, -20.1),
    "CAM_BACK": (809.221, 829.220, 481.778, (0.028, 0.003, 1.579), 179.9, -1.0, -10.4),
    "CAM_BACK_LEFT": (1256.741, 792.113, 492.776, (1.036, 0.485, 1.591), 108.6, 0.9, -0.5),
    "CAM_FRONT_LEFT": (1272.598, 826.615, 479.752, (1.524, 0.495, 1.509), 55.2, -0.1, -43.1),
}
_NUSCENES_CAR = (((1.3, 0.0, 0.62), (2.15, 0.85, 0.37)), ((0.95, 0.0, 1.15), (0.9, 0.6, 0.2)),
                 ((-0.45, 0.0, 1.05), (0.42, 0.75, 0.12)),
                 ((3.0, 0.0, 0.96), (0.6, 0.7, 0.06)))  # fmt: skip


def _nuscenes(preset: str) -> Rig:
    cameras = []
    for name, (f, cx, cy, at, yaw, down, ms) in _NUSCENES.items():
        K = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1.0]])
        R = rotation_rpy(0.0, np.deg2rad(down), np.deg2rad(yaw)) @ R_BODY_OPTICAL
        lens = Pinhole(K, 1600, 900)
        if preset == "small":
            lens = lens.resized(704, 396).cropped(0, 140, 704, 256)
        elif preset == "tiny":
            lens = lens.resized(176, 99).cropped(0, 35, 176, 64)
        cameras.append(RigCamera(name, lens, _pose(R, at), ms * 1e-3))
    yaw = rotation_rpy(0.0, 0.0, np.deg2rad(-89.88))
    rings = np.deg2rad(np.linspace(-30.0, 10.0, 32))
    columns = {"tiny": 361, "small": 722, "full": 1084}[preset]
    # The stamp is the end of the turn, which starts behind the car.
    lidar = Lidar("LIDAR_TOP", rings, columns, _pose(yaw, (0.944, 0.0, 1.840)), 0.05, -0.05,
                  -np.pi / 2, (0.9, 105.0))  # fmt: skip
    return Rig("nuscenes", tuple(cameras), lidar, OCC3D_GRID, np.eye(4), 0.5,
               2 if preset == "tiny" else 3, _NUSCENES_CAR)  # fmt: skip


def _single(name: str, preset: str) -> Rig:
    """Rigs of one camera: Cityscapes, BDD100K-like and hand-held RealEstate10K."""
    fx, fy, cx, cy, size, at = {
        "cityscapes": (2262.5, 2265.3, 1097.0, 513.1, (2048, 1024), (1.70, 0.03, 1.22)),
        "bdd100k": (1000.0, 1000.0, 640.0, 360.0, (1280, 720), (1.40, 0.0, 1.30)),
        "realestate10k": (440.0, 440.0, 320.0, 180.0, (640, 360), (0.0, 0.0, 1.55)),
    }[name]
    lens = Pinhole(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), *size)
    divide = {"tiny": 8 if name != "realestate10k" else 4, "small": 2, "full": 1}[preset]
    lens = lens.resized(size[0] // divide, size[1] // divide)
    down = 0.04 if name == "cityscapes" else 0.02
    T = _pose(rotation_rpy(0.0, down, 0.0) @ R_BODY_OPTICAL, at)
    car = (((2.9, 0.0, 0.55), (0.75, 0.85, 0.3)),) if name == "cityscapes" else ()
    period = 0.0334 if name == "realestate10k" else 0.1
    return Rig(name, (RigCamera("camera", lens, T),), None, OCC3D_GRID, np.eye(4), period,
               2 if preset == "tiny" else 3, car, name == "realestate10k")  # fmt: skip


def build_rig(name: str, preset: str) -> Rig:
    """The rig of a name from `config.RIGS` in a preset's size."""
    if name in _KITTI:
        return _kitti(name, preset)
    if name == "kitti360":
        return _kitti360(preset)
    if name == "nuscenes":
        return _nuscenes(preset)
    return _single(name, preset)
