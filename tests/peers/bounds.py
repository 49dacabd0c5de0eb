"""Constrained problems whose solutions are known (tests/some_problems.h), solved by cooper (github.com/cooper-org/cooper)
with the same steps as by optim/lagrangian.h."""

import subprocess
import sys

import torch

from twins import read_tensors

STEPS, RATE, ASCENT = 600, 0.05, 0.1


def half_distance(to):
    return lambda x: (x - torch.tensor(to)).square().sum() / 2


def linear(a):
    return lambda x: (x * torch.tensor(a)).sum()


CIRCLE = [half_distance([0.0, 0])]
LINES = [linear([1.0, 0]), linear([0.0, 1])]
CORNER = [linear([1.0, 1]), linear([1.0, -1])]
PROBLEMS = {  # to what f is half the squared distance, goals, bounds, start
    "a circle, from inside": ([2.0, 1], CIRCLE, [0.5], [0.0, 0]),
    "a circle, from outside": ([2.0, 1], CIRCLE, [0.5], [5.0, -4]),
    "a circle that holds the optimum": ([2.0, 1], CIRCLE, [8.0], [5.0, -4]),
    "two lines, both in the way": ([3.0, 2], LINES, [1.0, 1], [0.0, 0]),
    "two lines, one in the way": ([3.0, 0.5], LINES, [1.0, 1], [4.0, 4]),
    "a corner": ([3.0, 1], CORNER, [1.0, 0], [0.0, 2]),
}
RULES = {"ascent": "Lagrangian", "augmented": "augmented Lagrangian", "pi": "nuPI"}


def solve(cooper, rule, to, goals, bounds, start):
    """x and the multipliers behind the last step."""
    x, f, bounds = torch.tensor(start, requires_grad=True), half_distance(to), torch.tensor(bounds)
    kind, more = cooper.formulations.Lagrangian, {}
    if rule == "augmented":
        kind = cooper.formulations.AugmentedLagrangian
        penalty = cooper.penalty_coefficients.DensePenaltyCoefficient(torch.full_like(bounds, ASCENT))
        more = {"penalty_coefficient": penalty}
    multiplier = cooper.multipliers.DenseMultiplier(len(goals), dtype=bounds.dtype)

    class Problem(cooper.ConstrainedMinimizationProblem):
        def __init__(self):
            super().__init__()
            self.goals = cooper.Constraint(cooper.ConstraintType.INEQUALITY, kind, multiplier, **more)

        def compute_cmp_state(self):
            violation = torch.stack([goal(x) for goal in goals]) - bounds
            return cooper.CMPState(f(x), {self.goals: cooper.ConstraintState(violation)})

    problem, ascent = Problem(), {"lr": ASCENT, "maximize": True}
    if rule == "pi":
        dual = cooper.optim.nuPI(problem.dual_parameters(), Kp=10.0, Ki=1.0, ema_nu=0.9, **ascent)
    else:
        dual = torch.optim.SGD(problem.dual_parameters(), **ascent)
    optimizer = cooper.optim.AlternatingDualPrimalOptimizer(problem, torch.optim.SGD([x], RATE), dual)
    for _ in range(STEPS):
        optimizer.roll()
    return x.detach(), multiplier.weight.detach()


def bounds(program, folder, report):
    """A row for each rule: the largest difference of solutions and multipliers from the known ones and from ours."""
    try:
        import cooper
    except ImportError:
        print("skipped: constrained problems: no cooper (pip install --no-deps cooper-optim)", file=sys.stderr)
        return
    torch.set_default_dtype(torch.double)
    subprocess.run([program, "bounds", folder, str(STEPS)], check=True)
    results = read_tensors(folder / "bounds.safetensors")
    names = {name.split("/")[0] for name in results}
    if names != set(PROBLEMS):
        sys.exit(f"peers: no twin of some problem: {names ^ set(PROBLEMS)}")
    for rule, theirs in RULES.items():
        worst = {"known": (-1, ""), rule: (-1, "")}
        for name, problem in PROBLEMS.items():
            for part, found in zip(("x", "multipliers"), solve(cooper, rule, *problem)):
                for of in worst:
                    difference = (found - results[f"{name}/{of}/{part}"]).abs().max().item()
                    worst[of] = max(worst[of], (difference, f"{name}, {part}"))
        for of, (difference, where) in worst.items():
            name = f"constrained problems, cooper's {theirs} against {'what is known' if of == 'known' else 'ours, ' + of}"
            report({"name": name, "value": difference, "must": 1e-3, "where": where})
    torch.set_default_dtype(torch.float)
