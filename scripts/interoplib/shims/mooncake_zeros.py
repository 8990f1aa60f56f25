"""Overwrites values of a Mooncake store with zeros, behind their first HEAD bytes.  Usage: mooncake_zeros.py MASTER [HEAD] < KEYS"""
import sys

from mooncake.store import MooncakeDistributedStore

store = MooncakeDistributedStore()
assert store.setup("127.0.0.1", "P2PHANDSHAKE", 0, 64 << 20, "tcp", "", sys.argv[1]) == 0
head = int(sys.argv[2]) if len(sys.argv) > 2 else 0
for key in sys.stdin.read().split():
    value = store.get(key)
    assert value and store.remove(key, True) == 0 and store.put(key, value[:head] + bytes(len(value) - head)) == 0, key
store.close()
