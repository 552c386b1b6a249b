"""Speed and memory of the networks at their real size: counted anywhere, measured where they run.

python -m benchmarks --count    FLOPs, bytes and least time; nothing is computed
python -m benchmarks            seconds on this machine
"""
