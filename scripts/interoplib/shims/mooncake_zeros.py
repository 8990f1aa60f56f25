"""Overwrites values of a Mooncake store with zeros.  Usage: mooncake_zeros.py MASTER < KEYS"""
import sys

from mooncake.store import MooncakeDistributedStore

store = MooncakeDistributedStore()
assert store.setup("127.0.0.1", "P2PHANDSHAKE", 0, 64 << 20, "tcp", "", sys.argv[1]) == 0
for key in sys.stdin.read().split():
    size = store.get_size(key)
    assert size > 0 and store.remove(key, True) == 0 and store.put(key, bytes(size)) == 0, key
store.close()
