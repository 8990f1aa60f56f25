"""Servers of this machine: started, awaited, asked, ended."""
import json
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.request

HOME = pathlib.Path(__file__).resolve().parent.parent.parent
NAME = "model"  # what every engine calls the model


def start(log, command, **variables):
    """Starts a server in a session of its own, with its output in the file `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as output:
        return subprocess.Popen([str(c) for c in command], stdout=output, stderr=output, start_new_session=True,
                                env={**os.environ, **{key: str(value) for key, value in variables.items()}})


def end(processes):
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            kill(process)


def kill(process):
    """Ends a server and its children as a crash would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def step_back(process):
    """Lets the spinning workers of a vLLM run only when nothing else wants to: with several servers on two cores the front ends
    would get no time otherwise."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == process.pid and (folder / "cmdline").read_text().startswith("VLLM::Worker"):
                for thread in (folder / "task").iterdir():
                    with contextlib.suppress(OSError):  # it has ended
                        os.setpriority(os.PRIO_PROCESS, int(thread.name), 15)
        except (OSError, ValueError):
            continue  # it has ended


def vllm_variables(venv, core):
    """The environment of a vLLM on the CPU. Left to itself every engine binds spinning threads to all cores, and a token takes a
    second: it gets one core. Its first request with log-probabilities would compile a kernel, for which a core that others use as
    well takes longer than the engine waits for its worker (300 s): nothing is compiled."""
    path = f"{venv / 'bin'}:{os.environ['PATH']}"
    return dict(VLLM_CPU_KVCACHE_SPACE=1, OMP_NUM_THREADS=1, HF_HUB_OFFLINE=1, VLLM_NO_USAGE_STATS=1, DO_NOT_TRACK=1,
                UCX_TLS="tcp,self,sm", UCX_NET_DEVICES="all", VLLM_HOST_IP="127.0.0.1",
                VLLM_NIXL_SIDE_CHANNEL_HOST="127.0.0.1", VIRTUAL_ENV=venv, PATH=path,
                VLLM_CPU_OMP_THREADS_BIND=core % os.cpu_count(),
                TORCHDYNAMO_DISABLE=1, VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS=900)


def vllm_command(venv, model, port, *flags):
    return [venv / "bin" / "python", "-m", "vllm.entrypoints.cli.main", "serve", model, "--host", "127.0.0.1", "--port", port,
            "--served-model-name", NAME, "--max-model-len", 1024, "--enforce-eager", *flags]


def has_package(venv, name):
    python = venv / "bin" / "python"
    return python.exists() and subprocess.run(
        [str(python), "-c", f"import importlib.util as u, sys; sys.exit(u.find_spec('{name}') is None)"]).returncode == 0


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read().decode()


def post(port, path, body, timeout=900):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.loads(answer.read() or b"null")


def await_up(process, port, log, path="/health"):
    for _ in range(4500):
        if process.poll() is not None:
            raise SystemExit(f"the process for port {port} ended; see {log}")
        try:
            get(port, path)
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"port {port} is not up after 15 minutes; see {log}")


def await_port(process, port, log):
    """Waits until a server that speaks no HTTP takes connections."""
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"the process for port {port} ended; see {log}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"port {port} is not up after 2 minutes; see {log}")


def counter(port, name):
    """The sum of a metric's samples."""
    found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", get(port, "/metrics"), re.M)
    return sum(float(value) for value in found)


def hits(port):
    return counter(port, "vllm:external_prefix_cache_hits_total")
