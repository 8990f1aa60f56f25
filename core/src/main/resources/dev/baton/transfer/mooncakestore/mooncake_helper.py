"""Puts and gets values of a Mooncake cluster straight from and to a file that another process maps, too.

Arguments: file, its bytes, threads, own host, metadata server, segment bytes, buffer bytes, protocol, device, master.
Each line of the standard input is a command, its words separated by tabs:
  NUMBER exist KEY... | NUMBER put KEY OFFSET LENGTH ... | NUMBER get KEY OFFSET LENGTH ...
and each line of the standard output an answer: NUMBER and a result for each key, or NUMBER and !SENTENCE. The first
line is "ready" and, if something is wrong, a sentence. The end of the input is the end of this process.
"""

import ctypes
import mmap
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # libraries log to the standard output, which is not for them
answering = threading.Lock()


def say(number, words):
    with answering:
        answers.write(str(number) + "\t" + words.replace("\n", " ") + "\n")


path, size, threads, host, metadata, segment, buffer, protocol, device, master = sys.argv[1:]
size = int(size)
with open(path, "r+b") as shared:
    memory = mmap.mmap(shared.fileno(), size)
os.unlink(path)
base = ctypes.addressof(ctypes.c_char.from_buffer(memory))

try:
    from mooncake.store import MooncakeDistributedStore
except Exception as e:
    say("ready", "no package: " + str(e))
    os._exit(1)

store = MooncakeDistributedStore()
try:
    status = store.setup(host, metadata, int(segment), int(buffer), protocol, device, master)
    if status == 0:
        status = store.register_buffer(base, size)
    say("ready", "" if status == 0 else "Mooncake answers " + str(status))
except Exception as e:
    status = -1
    say("ready", str(e) or type(e).__name__)
if status != 0:
    os._exit(1)


def run(number, command, words):
    try:
        if command == "exist":
            results = store.batch_is_exist(words)
        else:
            keys, offsets, lengths = words[0::3], list(map(int, words[1::3])), list(map(int, words[2::3]))
            if any(o < 0 or n < 0 or o + n > size for o, n in zip(offsets, lengths)):
                raise ValueError("outside of the shared memory")
            call = {"put": store.batch_put_from, "get": store.batch_get_into}[command]
            results = call(keys, [base + o for o in offsets], lengths)
        say(number, "\t".join(map(str, results)))
    except Exception as e:
        say(number, "!" + (str(e) or type(e).__name__))


pool = ThreadPoolExecutor(int(threads))
for line in sys.stdin:
    number, command, *words = line.rstrip("\n").split("\t")
    pool.submit(run, number, command, words)
threading.Timer(3, os._exit, [0]).start()
store.close()
os._exit(0)
