"""Small documents as the benches write them, with samples whose medians are known."""

MACHINE = {
    "processor": "AMD EPYC",
    "cores": 2,
    "python": "3.11.7",
    "packages": {"xtc-tvm-python-bindings": "0.19.0.12", "numpy": "2.4.6"},
    "commit": "96ff8391b856a9013e6c945e625f979197081fc2",
    "threads": "2",
    "peak_gflops": 235.4,
}
GPU = {"name": "NVIDIA H200", "driver": "570.1", "sm_clock": "1980 MHz"}
LLVM, CUDA = "llvm -mcpu=skylake-avx512", "cuda -arch=sm_90"


def samples(median: float, turn: int = 0) -> list[float]:
    """Five rounds around a median; another turn gives them another order, and ratios a spread."""
    steps = (0.0, 0.01, -0.01, 0.02, -0.02)
    return [median * (1 + step) for step in steps[turn:] + steps[:turn]]


def document(bench: str, **content) -> dict:
    """A document of the usual machine."""
    return {"command": f"python -m {bench}", "machine": dict(MACHINE), **content}


def site(name: str = "max_pool2d", action: str | None = "fuse", gain: float | None = 1.5) -> dict:
    decision = {"action": action, "basis": "model", "gain": gain, "note": ""} if action else None
    return {
        "name": name,
        "status": "fused" if action else "refused",
        "reason": None,
        "explanation": "as the model expects" if action else "used twice",
        "chain": ["add", "nn.relu"],
        "window": "2x2/2x2 on 224x224 -> 112x112",
        "decision": decision,
    }


def model_row(network: str, stock: float, ours: float, **fields) -> dict:
    return {
        "network": network,
        "batch": 1,
        "threads": 2,
        "target": LLVM,
        "schedules": "default",
        "commit": "643239669d52d9eed837bd9a2c6b6941f92dad1d+changes",
        "equal": True,
        "bit_equal": True,
        "difference": 0.0,
        "kernels": {"stock": 4, "ours": 3},
        "sites": [site(), site("max_pool2d_2", None)],
        "time_ms": {"stock": samples(stock), "ours": samples(ours, 1)},
        **fields,
    }


def models() -> dict:
    rows = [
        model_row("custom_tanh", 11.3, 4.3),
        model_row("vgg16_relu", 158.0, 150.5),
        model_row("resnet18", 20.2, 20.2),
        model_row("light_resnet50", 48.0, 50.0),
        model_row("vgg16_relu", 1208.0, 1164.0, batch=8),
        model_row("vgg16_relu", 154.0, 149.6, schedules="tuned", equal=False, bit_equal=False)
        | {"difference": 4.1e-6},
    ]
    return document("bench.models", rows=rows)


def layer_row(network: str, index: int, batch: int, ratio: float, **fields) -> dict:
    size = 448 >> index
    before = 0.9 * batch * (size / 224) ** 2 * 2 ** (index - 1)
    return {
        "network": network,
        "batch": batch,
        "threads": 2,
        "target": LLVM,
        "layer": f"relu{index}",
        "operator": "nn.relu",
        "shape_before": [batch, 32 << index, size, size],
        "shape_after": [batch, 32 << index, size // 2, size // 2],
        "theoretical": 4.0,
        "before_ms": samples(before),
        "after_ms": samples(before / ratio, 1),
        **fields,
    }


def total_row(network: str, fusing: str, decision: str, ratio: float) -> dict:
    return {
        "network": network,
        "batch": 1,
        "threads": 2,
        "target": LLVM,
        "fusing": fusing,
        "decision": decision,
        "kernels": {"stock": 40, "ours": 35},
        "bit_equal": True,
        "equal": True,
        "time_ms": {"stock": samples(150 * ratio), "ours": samples(150, 1)},
    }


def paper(batches: tuple[int, ...] = (1, 4, 16)) -> dict:
    layers = [
        layer_row(network, index, batch, 4 - 0.3 * index / batch - 0.1 * lag)
        for lag, network in enumerate(("vgg16", "vgg19"))
        for batch in batches
        for index in range(1, 6)
    ]
    layers += [
        layer_row("custom", 1, batch, 3.98, layer="sigmoid", operator="sigmoid")
        for batch in batches
    ]
    totals = [
        total_row(network, fusing, decision, ratio)
        for network in ("vgg16", "vgg19", "custom")
        for fusing, decision, ratio in (
            ("apart", "exchange", 1.06),
            ("apart", "auto", 1.062),
            ("fused", "exchange", 0.985),
            ("fused", "auto", 1.045),
        )
    ]
    pictures = {"network": "vgg16", "real": 50, "random": 50, "classes": 1000, "identical": 97}
    counts = {"example": "16 values, 2x2 pool", "layer": "relu", "before": 28, "after": 16}
    gradient = {"network": "custom", "forward_equal": True, "gradients_equal": True, "ties": 0}
    lists = {"layers": layers, "totals": totals, "pictures": [pictures]}
    lists |= {"operations": [counts], "gradients": [gradient]}
    return document("bench.paper", target=LLVM, seed=0, **lists)


def tuned() -> dict:
    rows = [
        {
            "network": network,
            "tuner": tuner,
            "trials": 64,
            "threads": 2,
            "batch": 1,
            "target": LLVM,
            "seed": 0,
            "commit": "643239669d52d9eed837bd9a2c6b6941f92dad1d",
            "kernels": {"stock": 4, "exchanged": 4, "ours": 3},
            "equal": {"stock": True, "exchanged": True, "ours": False},
            "time_ms": {
                "stock": samples(10.0),
                "exchanged": samples(10.0 / exchanged, 1),
                "ours": samples(10.0 / ours, 2),
            },
        }
        for network in ("custom", "vgg16")
        for tuner, exchanged, ours in (
            ("autotvm", 1.3, 2.1),
            ("auto_scheduler", 1.02, 1.03),
            ("meta_schedule", 0.99, 1.01),
        )
    ]
    return document("scripts.tune custom", rows=rows)


def contestant(package: str, milliseconds: float) -> dict:
    return {"versions": {package: "1.0"}, "time_ms": samples(milliseconds)}


def peers() -> dict:
    contestants = {
        "ort": contestant("onnxruntime", 147.0),
        "torch": contestant("torch", 201.0),
        "stock": contestant("tvm", 152.0),
        "ours": contestant("tvm", 140.0),
    }
    place = {"network": "vgg16_relu", "batch": 1, "threads": 2}
    row = {**place, "best_peer": "ort", "contestants": contestants, "missing": ["openvino"]}
    return document("bench.peers vgg16_relu", rows=[row])


def site_row(place: str, action: str, expected: float, measured: float) -> dict:
    return {
        "site": place,
        "places": [place],
        "what": "1x3x224x224, 3x3 conv to 64, add > nn.relu, 2x2/2x2",
        "workload": {"convolution": {"batch": 1}},
        "threads": 2,
        "schedules": "default",
        "target": LLVM,
        "decision": {"action": action, "basis": "model", "gain": expected, "note": ""},
        "time_ms": {
            "stock": samples(measured),
            "exchange": samples(1.25),
            "auto": samples(1.0, 1),
        },
    }


def sites() -> dict:
    rows = [
        site_row("custom_tanh/max_pool2d", "fuse", 3.35, 2.58),
        site_row("vgg16_relu/max_pool2d", "fuse", 1.07, 1.23),
        site_row("vgg16_relu/max_pool2d_2", "keep", 1.0, 1.01),
    ]
    return document("bench.sites", rows=rows)


def activations() -> dict:
    times = {"nn.relu": samples(0.2), "sigmoid": samples(2.4), "tanh": samples(4.8)}
    return document("bench.activations", target=LLVM, samples_ns=times)


def pass_time() -> dict:
    row = {"network": "chain of 30", "sites": 30, "exchanged": 30, "pass_s": 0.25, "build_s": 12.5}
    return document("bench.bench_pass_time", rows=[row])


def world() -> dict:
    row = {
        **{"network": "silu", "batch": 1, "threads": 2, "wanted": "auto", "licence": "ulp:2"},
        **{"equal": True, "bit_equal": True, "difference": 0.0, "commit": "66b4c13"},
        "kernels": {"stock": 5, "ours": 7},
        "decisions": ["exchange by model, expected 1.18x"],
        "time_ms": {"stock": samples(4.8), "ours": samples(4.6, 1)},
    }
    stray = {"network": "gelu", "equal": False, "bit_equal": False, "difference": 2.4e-7}
    return document("bench.world", rows=[row, {**row, **stray, "licence": "ulp:any"}])


def directions() -> dict:
    row = {"function": "silu", "direction": "valley", "certificate": "2 ulp", "licence": "ulp:2"}
    return document("bench.directions", rows=[{**row, "decision": "exchange by model"}])


def all_documents() -> dict[str, dict]:
    """One document of each kind, by stem."""
    makers = (models, paper, tuned, peers, world, sites, directions, activations, pass_time)
    return {maker.__name__: maker() for maker in makers}
