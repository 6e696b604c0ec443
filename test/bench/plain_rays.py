"""The photometric term of ViPOcc and BTS as the papers write it, to compare with and to race.

Sample by sample and patch by patch: unproject the pixels, place samples, look their features up,
append the code, two layers; look their colours up in every other view; composite. Nothing is folded
or shared between rays.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from occ_perception.blocks.fields.positional import normalised_inverse_depth, positional_code
from occ_training.data.views import rebased
from occ_training.losses.photometric import patch_error
from occ_training.losses.rendering import INVALID_POLICIES, RaySamples, best_view_error

MOST_POINTS = 100_000  # of a query, as in the published trainings


def look_up(image, uv):
    """Bilinear values `[m, c]` of one image at normalised points, border values outside."""
    found = F.grid_sample(image[None], uv[None, None], padding_mode="border", align_corners=False)
    return found[0, :, 0].T


def project(points, T_cam_world, K):
    in_camera = points @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]
    uvw = in_camera @ K.T
    uv = uvw[:, :2] / uvw[:, 2:].clamp(min=1e-3)
    outside = (uvw[:, 2] <= 1e-3) | (uv.abs() > 1).any(dim=-1)
    return uv, uvw[:, 2], outside


def density(net, features, points, K):
    """Density of points in the frame of the encoded view, and whether it sees them."""
    config = net.config
    uv, z, outside = project(points, torch.eye(4), K)
    coded = normalised_inverse_depth(z, config.near_m, config.far_m, 1e-3)
    code = positional_code(torch.cat([uv, coded[:, None]], dim=-1))
    inputs = torch.cat([look_up(features, uv), code], dim=-1)
    return F.softplus(net.field.lin_out(F.relu(net.field.lin_in(inputs)))[:, 0]), outside


def ask(net, features, images, poses, Ks, sources, points):
    """Density, colours in the source views and visibility of points, in bounded queries."""
    answers = []
    for piece in points.split(MOST_POINTS):
        sigma, unseen = density(net, features, piece, Ks[0])
        colours, outside = [], []
        for view in sources:
            uv, _, beside = project(piece, torch.linalg.inv(poses[view]), Ks[view])
            colours.append(look_up(images[view], uv))
            outside.append(beside | unseen)
        answers.append((sigma, torch.stack(colours, dim=1), torch.stack(outside, dim=1)))
    return [torch.cat(parts) for parts in zip(*answers, strict=True)]


def pixel_rays(row, column, size, image_size, K, pose):
    """Origin and unit directions of a patch's pixels; corner pixels lie on -1 and 1."""
    height, width = image_size
    v = torch.linspace(-1, 1, height)[row : row + size]
    u = torch.linspace(-1, 1, width)[column : column + size]
    v, u = torch.meshgrid(v, u, indexing="ij")
    bent = torch.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], torch.ones_like(u)], -1)
    directions = bent / bent.norm(dim=-1, keepdim=True) @ pose[:3, :3].T
    return pose[:3, 3], directions.flatten(0, 1)


def composite(sigma, distances):
    """Weights of the samples; the last one takes what is left."""
    steps = torch.cat([distances.diff(dim=-1), torch.full_like(distances[:, :1], 1e10)], dim=-1)
    alpha = 1 - torch.exp(-steps * sigma)
    alpha = torch.cat([alpha[:, :-1], torch.ones_like(alpha[:, :1])], dim=-1)
    passed = torch.cumprod(1 - alpha + 1e-10, dim=-1)
    return alpha * torch.cat([torch.ones_like(alpha[:, :1]), passed[:, :-1]], dim=-1)


def render_sample(net, features, images, poses, Ks, partition, patches, sample, jitter):
    """Weights, visibility, colours and rendered colours of one sample's patches, and the truth."""
    size, image_size = patches.size, images.shape[-2:]
    samples = jitter.shape[-1]
    step = (torch.arange(samples) + jitter[sample]) / samples
    distances = 1 / ((1 - step) / net.config.near_m + step / net.config.far_m)
    points, truth = [], []
    for patch, reach in enumerate(distances.split(size**2)):
        view = partition.loss[int(patches.view[sample, patch])]
        row, column = int(patches.y[sample, patch]), int(patches.x[sample, patch])
        rays = pixel_rays(row, column, size, image_size, Ks[view], poses[view])
        points.append(rays[0] + reach[..., None] * rays[1][:, None])
        truth.append(images[view, :, row : row + size, column : column + size])
    flat = torch.cat(points).flatten(0, 1)
    sigma, colours, outside = ask(net, features, images, poses, Ks, partition.render, flat)
    shape = (len(points), size, size, samples)
    weights = composite(sigma.view(-1, samples), distances).view(shape)
    colours = colours.view(*shape, -1, 3)
    rendered = torch.einsum("pyxk,pyxkrc->pyxrc", weights, colours)
    return weights, outside.view(*shape, -1), colours, rendered, torch.stack(truth).movedim(1, -1)


def photometric_term(model, views, draws, policy="weight_guided"):
    """The same number as the "rgb" term of `vipocc_step.train_step` (without flip)."""
    net = model.density_net
    features = net.features(views.images[:, 0])
    poses, images = rebased(views.T_world_cam), views.images * 0.5 + 0.5
    rendered = [
        render_sample(net, features[i], images[i], poses[i], views.K[i],
                      draws.partition, draws.patches, i, draws.jitter)
        for i in range(len(images))
    ]  # fmt: skip
    weights, outside, colours, seen, truth = map(torch.stack, zip(*rendered, strict=True))
    invalid = INVALID_POLICIES[policy](RaySamples(weights, outside, colours))
    return best_view_error(patch_error(seen, truth), invalid)
