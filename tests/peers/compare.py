"""The command line of tests/peers/run. Exit code 1: a row misses its `must`."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

GROUPS = ("parity", "engine", "deepbow", "dupn", "nmt", "bags")

parser = argparse.ArgumentParser(prog="tests/peers/run", description="the library against PyTorch")
parser.add_argument("--only", choices=GROUPS, metavar="GROUP", help=" ".join(GROUPS))
parser.add_argument("--data-dir", type=Path, help="holds home_depot_search/; without it, the market")
parser.add_argument("--model", type=Path, help="a trained model; no group needs one yet")
parser.add_argument("--json", action="store_true", help="rows as JSON lines")
parser.add_argument("--build", type=Path, default=Path("build"), help="build folder")
options = parser.parse_args()
groups = [options.only] if options.only else GROUPS

missed = []


def report(row):
    met = row.get("must") is None or (row["ratio"] >= row["must"] if "ratio" in row else row["value"] <= row["must"])
    if not met:
        missed.append(row["name"])
    if options.json:
        print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    sizes = "{ratio:.2f} ({low:.2f} … {high:.2f})" if "ratio" in row else "{value:.3g}"
    bounds = ", ".join(f"{key} {row[key]:g}" for key in ("must", "aim") if row.get(key) is not None)
    notes = "; ".join(str(row[key]) for key in ("ours", "rival", "where") if key in row)
    print(f"{'  ' if met else '! '}{row['name']}: {sizes.format(**row)}  [{bounds}]  {notes}", flush=True)


def build():
    if not (options.build / "CMakeCache.txt").exists():
        subprocess.run(["cmake", "--preset", "release", "-B", options.build], check=True, stdout=sys.stderr)
    targets = ["peer"] + (["peer_double"] if "parity" in groups else [])
    command = ["cmake", "--build", options.build, "-j", str(os.cpu_count()), "--target", *targets]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return [(options.build / "tests" / name).resolve() for name in ("peer", "peer_double")]


programs = build()
with tempfile.TemporaryDirectory() as work:
    if "parity" in groups:
        from twins import parity

        parity(programs, Path(work), report)
    if set(groups) - {"parity"}:
        from speed import Speed

        speed = Speed(programs[0], Path(work) / "speed", options.data_dir, report)
        speed.machine()
        for group in groups:
            if group != "parity":
                getattr(speed, group)()
        speed.ours.close()
if missed:
    sys.exit("peers: missed: " + "; ".join(missed))
