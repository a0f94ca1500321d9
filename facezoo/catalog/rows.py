"""The rows: every model, its published weights with their digests, and what was measured."""

from __future__ import annotations

from facezoo.catalog.specs import Licences, Measurement, ModelSpec, WeightSpec

_OWN = Licences(code="Apache-2.0", weights="CC0-1.0", head="CC0-1.0", data="CC0-1.0")


def _nme(data: str, value: float, command: str) -> Measurement:
    return Measurement("NME %", data, value, command)


def _photographs(weights: str, aflw: float, dlib: float) -> tuple[Measurement, Measurement]:
    """Return the NME on the two sets of photographs that all landmark methods are measured on."""
    command = f"facezoo evaluate {weights} data="
    return (
        _nme("aflw2000_9, original labels, true boxes", aflw, f"{command}aflw2000_9 root=DIR"),
        _nme("dlib_18, contour, true boxes", dlib, f"{command}dlib_18 root=DIR"),
    )


MODELS = (
    ModelSpec(
        name="dense-1609",
        method="dense",
        module="facezoo.models.dense.predict",
        class_name="DenseLandmarks",
        summary="dense landmarks with confidences from one crop, then a head and a camera fitted to them",
        paper="Landmark-based dense 3D face reconstruction (thesis, ETH Zürich 2022); after Wood et al., ECCV 2022",
        tasks=("landmarks", "reconstruction"),
        weights=(
            WeightSpec(
                tag="open-v2",
                head="open-v1",
                sha256={
                    "model.safetensors": "0f802e76cb9b36eebdd492f204b22854d0a3717f6affe8d56e97f1c155f52529",
                    "config.json": "d9e01d612640a8cc0b902671d529c3494dcd30a02c8c99bc724854c22ab275f3",
                },
                size=8728385,
                licences=_OWN,
                trained_on="32,400 synthetic people of the open head, 78 minutes on two CPU cores; no photograph",
                metrics=(
                    *_photographs("dense-1609.open-v2", 3.88, 3.67),
                    _nme(
                        "synthetic validation",
                        3.22,
                        "python -m facezoo.train recipe=dense data.source=shards data.root=people data.validation=400 "
                        "trainer.precision=bf16 trainer.max_steps=0 trainer.max_minutes=78",
                    ),
                ),
            ),
        ),
    ),
    ModelSpec(
        name="synergynet",
        method="synergynet",
        module="facezoo.models.synergynet.predict",
        class_name="SynergyFaces",
        summary="head parameters, pose, 68 refined landmarks and a dense mesh from one crop, without any optimisation",
        paper="Wu, Xu, Neumann: Synergy between 3DMM and 3D Landmarks for Accurate 3D Facial Geometry, 3DV 2021",
        tasks=("landmarks", "reconstruction"),
        weights=(
            WeightSpec(
                tag="open-v1",
                head="open-v1",
                sha256={
                    "model.safetensors": "a7f390d57417eda33e823cfc4d03a393f1f46da8ec5c9b3fb391baae0e2ac535",
                    "config.json": "8543ff6a454f0b8436443c395871fd668c35b70694cb01090373e0f363518420",
                },
                size=6512831,
                licences=_OWN,
                trained_on="32,400 synthetic people, 45 minutes on two CPU cores, after dense-1609; no photograph",
                metrics=(
                    *_photographs("synergynet.open-v1", 3.94, 3.91),
                    _nme(
                        "synthetic validation",
                        3.40,
                        "python -m facezoo.train recipe=synergynet data.source=shards data.root=people "
                        "data.validation=400 trainer.precision=bf16 trainer.max_steps=0 trainer.max_minutes=45",
                    ),
                ),
            ),
        ),
    ),
    ModelSpec(
        name="deca",
        method="deca",
        module="facezoo.models.deca.predict",
        class_name="Deca",
        summary="a head with albedo, light and camera from one crop, and wrinkles that move with expression",
        paper="Feng, Feng, Black, Bolkart: Learning an Animatable Detailed 3D Face Model, SIGGRAPH 2021",
        tasks=("reconstruction", "landmarks"),
        weights=(
            WeightSpec(
                tag="open-v1",
                head="open-v1",
                sha256={
                    "model.safetensors": "afbfd36846be2833cf9dd9720126825279f426be0bd913d43c01ab24a4f0db6c",
                    "config.json": "3d8fb71d717e6c374a289afac96645ccc777fb8b02e7b5b179b428b0815d251c",
                },
                size=11679879,
                licences=_OWN,
                trained_on="32,400 synthetic people, then 1,600 with relief; 83 minutes on one CPU core; no photograph",
                metrics=(
                    *_photographs("deca.open-v1", 4.07, 4.69),
                    Measurement(
                        "NoW protocol, median mm",
                        "60 synthetic people",
                        0.93,
                        "facezoo evaluate deca.open-v1 data=now-synthetic count=60 out=DIR",
                    ),
                    Measurement(
                        "normals of the relief, degrees (coarse 0.75)",
                        "50 synthetic people with relief",
                        0.67,
                        "facezoo evaluate deca.open-v1 data=relief-synthetic count=50 out=DIR",
                    ),
                ),
            ),
        ),
    ),
    ModelSpec(
        name="flowface",
        method="flowface",
        module="facezoo.models.flowface.predict",
        class_name="FlowFace",
        summary="where every vertex of the head lies in the picture, seen or not, with its uncertainty; then a head",
        paper="Taubner et al.: 3D Face Tracking from 2D Video through Iterative Dense UV to Image Flow, CVPR 2024",
        tasks=("landmarks", "reconstruction"),
        weights=(
            WeightSpec(
                tag="open-v1",
                head="open-v1",
                sha256={
                    "model.safetensors": "9283132b8787c059125284d516ae014b5e01a2f56b010b48897b073d374c0372",
                    "config.json": "2003aa4907871d27bcb14a9e856df49feedfb5f91571954c231bed5f8dca406a",
                },
                size=11454852,
                licences=_OWN,
                trained_on="32,400 synthetic people, 89 minutes on one CPU core, after dense-1609; no photograph",
                metrics=(
                    *_photographs("flowface.open-v1", 3.80, 4.50),
                    _nme(
                        "synthetic validation",
                        3.24,
                        "python -m facezoo.train recipe=flowface data.source=shards data.root=people "
                        "data.validation=400 trainer.precision=bf16 trainer.max_steps=0 trainer.max_minutes=75",
                    ),
                ),
            ),
        ),
    ),
    ModelSpec(
        name="skull-stabilizer",
        method="stabilizer",
        module="facezoo.models.stabilizer.predict",
        class_name="SkullStabilizer",
        summary="the rigid transform between the skulls of two registered meshes of one person; holds sequences still",
        paper="Bednarik et al. 2024, Learning to Stabilize Faces, arXiv 2411.15074",
        tasks=("stabilization",),
        weights=(
            WeightSpec(
                tag="open-v2",
                head="open-v1",
                sha256={
                    "model.safetensors": "7ad288dc331f1d0a683f1a73af0c4ae2c278cf0f9ecd0f1e765442bb173352c5",
                    "config.json": "b97a50a9981049925450db1d470a61506e6d37027d0d163d7444e5a571444b80",
                },
                size=645443,
                licences=_OWN,
                trained_on="79,360 pairs of synthetic meshes of the open head, 9 minutes on a busy CPU core; no scan",
                metrics=(
                    Measurement(
                        "md upper face, mm",
                        "held-out synthetic pairs",
                        0.167,
                        "facezoo evaluate skull-stabilizer.open-v2 data=synthetic count=128 unpose=16",
                    ),
                ),
            ),
        ),
    ),
)

# Weights that a better training replaced before the first release.
DEPRECATED = {
    "dense-1609.open-v1": "dense-1609.open-v2",
    "skull-stabilizer.open-v1": "skull-stabilizer.open-v2",
}
