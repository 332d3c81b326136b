"""Published defences, written for the benchmark from their papers.

Each was checked against the behaviour of the code that its authors published; every module says
where it differs. All of them get the same :class:`~benchmarks.baselines.contract.Defence`.
"""
