"""What a scan costs: seconds and memory by stage, multiply-adds, and the same work the plain way.

    python -m benchmarks cost --out docs/benchmark/cost            # every case, hours on two cores
    python -m benchmarks cost --only 'wrn16-1*' --out runs/cost
    rnp benchmark cost --help

Networks have random convolutions and a last layer that is fitted to the classes, so that they get
synthetic images right without training: cost depends on shapes, not on what was learned. Every scan
is made to accuse its most suspicious label, and that alone, so that removal is part of it, and
looks for more kinds of triggers, as no label of such a network stands out: a long way through a
scan. Cases called clean and backdoor are scanned as anything is. The former are demo models with
ten of their signs, made as wide as the network where they are narrower; the latter are trained for
a moment on images of which some have a white square and its label, as have half of their suspects.
Brief ones stop every search after a few steps: they show the memory of networks whose scan takes
long. Each case runs in a process of its own, with at least one clean image a class.
"""
