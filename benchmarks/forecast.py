"""Measure the accuracy of the forecast on simulated chains without faults, at the start and midway.

    python -m benchmarks.forecast
    python -m benchmarks.forecast --chains 200 --seed 1000

In each chain the times of steps, machines, the queue and dataset processing vary, and nothing fails. At the start the
forecast gets the true typical times; midway it gets wrong ones for everything that the chain has measured by then.
Printed are the share of chains whose end and quota use came within a tenth of the forecast, the median error, and the
share of chains that ended between the two bounds. A chain takes about a second.
"""

import argparse
import statistics

from orchestrator.rehearsal.simulation.forecast_accuracy import ForecastError, one


def main() -> None:
    """Simulate, then print a line for each of the two times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first chain")
    chosen = parser.parse_args()
    chains = [one(seed) for seed in range(chosen.seed, chosen.seed + chosen.chains)]
    longest = max(chain.days for chain in chains)
    print(
        f"{len(chains)} chains of {min(c.sessions for c in chains)} to {max(c.sessions for c in chains)} sessions, up to {longest:.0f} days"
    )
    _line("at the start", [chain.start for chain in chains])
    _line("midway", [chain.midway for chain in chains])
    missed = [str(chain.seed) for chain in chains if not (chain.start.close and chain.midway.close)]
    print(f"off by more than a tenth at the start or midway: seeds {', '.join(missed) or 'none'}")


def _line(when: str, errors: list[ForecastError]) -> None:
    close, bounded = (sum(getattr(one, what) for one in errors) / len(errors) for what in ("close", "bounded"))
    finish, quota = (statistics.median(getattr(one, what) for one in errors) for what in ("off_finish", "off_quota"))
    print(
        f"{when:>12}: within a tenth {close:.0%}; median error of the end {finish:.1%}, of the quota {quota:.1%}; "
        f"between the bounds {bounded:.0%}"
    )


if __name__ == "__main__":
    main()
