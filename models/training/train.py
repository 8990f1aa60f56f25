"""Trains baton-tiny: a Llama of 11 M parameters, from nothing but generated text (generate.py).

Documents are packed whole into rows of 2,048 tokens; attention stays inside a document (FlexAttention), the loss is over all tokens.
The text is written, tokenized and packed by worker processes while the model trains, so every row is new. On a CPU, --tiny runs
the same path in small, to try it out.
"""

import argparse
import bisect
import csv
import json
import math
import multiprocessing
import os
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy
import torch
import torch.nn.functional as F
from torch import nn

import generate
import tokenization

CONFIG = dict(vocab=4096, hidden=384, heads=6, kv_heads=2, head=64, intermediate=1024, layers=6, context=2048, theta=10000.0, eps=1e-5)


# ---------------------------------------------------------------------------------------------------------------------------------
# The model, with the names of Hugging Face's LlamaForCausalLM


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, self.eps).to(x.dtype)


def rotate(x, cos, sin):  # (batch, heads, tokens, head)
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return (x.float() * cos + turned.float() * sin).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q_proj = nn.Linear(c["hidden"], c["heads"] * c["head"], bias=False)
        self.k_proj = nn.Linear(c["hidden"], c["kv_heads"] * c["head"], bias=False)
        self.v_proj = nn.Linear(c["hidden"], c["kv_heads"] * c["head"], bias=False)
        self.o_proj = nn.Linear(c["heads"] * c["head"], c["hidden"], bias=False)

    def forward(self, x, cos, sin, attend):
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, -1, self.c["head"]).transpose(1, 2)
        k = self.k_proj(x).view(b, t, -1, self.c["head"]).transpose(1, 2)
        v = self.v_proj(x).view(b, t, -1, self.c["head"]).transpose(1, 2)
        y = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c["hidden"], c["intermediate"], bias=False)
        self.up_proj = nn.Linear(c["hidden"], c["intermediate"], bias=False)
        self.down_proj = nn.Linear(c["intermediate"], c["hidden"], bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c["hidden"], c["eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c["hidden"], c["eps"])
        self.mlp = MLP(c)

    def forward(self, x, cos, sin, attend):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, attend)
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c["vocab"], c["hidden"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["layers"]))
        self.norm = RMSNorm(c["hidden"], c["eps"])
        frequency = c["theta"] ** (-torch.arange(0, c["head"], 2).float() / c["head"])
        angle = torch.outer(torch.arange(c["context"]).float(), frequency).repeat(1, 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * c["layers"]) if deep else 0.02)

    def forward(self, tokens, targets, attend):
        """The loss of every position, 0 where the target is ignored, and the token of the largest logit."""
        x = self.embed_tokens(tokens)
        t = tokens.shape[1]
        for layer in self.layers:
            x = layer(x, self.cos[:t], self.sin[:t], attend)
        logits = F.linear(self.norm(x), self.embed_tokens.weight).float()
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none").view_as(targets)
        return loss, logits.argmax(-1)


def export(model, folder):
    """Writes the model as a Hugging Face folder (the tokenizer's files are written by tokenization.py)."""
    from safetensors.torch import save_file

    c = model.c
    os.makedirs(folder, exist_ok=True)
    tensors = {"model." + k: v.detach().to(torch.bfloat16).cpu().contiguous() for k, v in model.state_dict().items()}
    weights = os.path.join(folder, "model.safetensors")
    save_file(tensors, weights, metadata={"format": "pt"})
    os.chmod(weights, 0o644)
    special = {t: i for i, t in enumerate(tokenization.SPECIAL)}
    bos, eos, turn, pad = (special[t] for t in (tokenization.BOS, tokenization.EOS, tokenization.TURN_END, tokenization.PAD))
    config = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": bos, "eos_token_id": turn,
        "head_dim": c["head"], "hidden_act": "silu", "hidden_size": c["hidden"], "initializer_range": 0.02,
        "intermediate_size": c["intermediate"], "max_position_embeddings": c["context"], "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": c["heads"], "num_hidden_layers": c["layers"], "num_key_value_heads": c["kv_heads"], "pad_token_id": pad,
        "pretraining_tp": 1, "rms_norm_eps": c["eps"], "rope_scaling": None, "rope_theta": c["theta"], "tie_word_embeddings": True,
        "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": c["vocab"],
    }
    for name, value in (("config.json", config), ("generation_config.json", {"bos_token_id": bos, "eos_token_id": [turn, eos], "pad_token_id": pad})):
        with open(os.path.join(folder, name), "w") as f:
            json.dump(value, f, indent=2)
            f.write("\n")


# ---------------------------------------------------------------------------------------------------------------------------------
# Rows of packed documents

_tokenizer = None


def _open_tokenizer(path):
    global _tokenizer
    from tokenizers import Tokenizer

    _tokenizer = Tokenizer.from_file(path)


def pack(encoded, context):
    """Best fit of whole documents, longest first. Returns tokens and, for each, the number of its document in the row (0 is padding)."""
    encoded = sorted((e for e in encoded if len(e) <= context), key=len, reverse=True)
    rows, room = [], []  # room: sorted (free tokens, row)
    for e in encoded:
        at = bisect.bisect_left(room, (len(e), -1))
        if at == len(room):
            rows.append([e])
            bisect.insort(room, (context - len(e), len(rows) - 1))
        else:
            free, row = room.pop(at)
            rows[row].append(e)
            bisect.insort(room, (free - len(e), row))
    tokens = numpy.full((len(rows), context), tokenization.SPECIAL.index(tokenization.PAD), numpy.uint16)
    owner = numpy.zeros((len(rows), context), numpy.uint16)
    for i, row in enumerate(rows):
        start = 0
        for n, e in enumerate(row, 1):
            tokens[i, start:start + len(e)] = e
            owner[i, start:start + len(e)] = n
            start += len(e)
    return tokens, owner


def shard(job):
    """Rows of about 500,000 tokens; the same job always gives the same rows."""
    seed, index, size, context = job
    values = generate.training_values(f"{seed} {index}")
    encoded, count = [], 0
    while count < size:
        ids = _tokenizer.encode(tokenization.render(generate.document(values))).ids
        encoded.append(ids)
        count += len(ids)
    tokens, owner = pack(encoded, context)
    order = numpy.random.default_rng(index).permutation(len(tokens))
    return tokens[order], owner[order]


def batches(shards, rows):
    tokens = owner = None
    for t, o in shards:
        tokens = t if tokens is None else numpy.concatenate((tokens, t))
        owner = o if owner is None else numpy.concatenate((owner, o))
        while len(tokens) >= rows:
            yield tokens[:rows], owner[:rows]
            tokens, owner = tokens[rows:], owner[rows:]


def to_device(tokens, owner, device):
    tokens = torch.from_numpy(tokens.astype(numpy.int64))
    owner = torch.from_numpy(owner.astype(numpy.int32))
    targets = torch.full_like(tokens, -100)
    same = (owner[:, 1:] == owner[:, :-1]) & (owner[:, 1:] > 0)
    targets[:, :-1] = torch.where(same, tokens[:, 1:], -100)
    if device == "cuda":
        tokens, owner, targets = tokens.pin_memory(), owner.pin_memory(), targets.pin_memory()
    return (x.to(device, non_blocking=True) for x in (tokens, owner, targets))


def recall_rows(tokenizer, conversations, context):
    """Held-out conversations with their right replies, one a row, and where the reply lies."""
    tokens = numpy.zeros((len(conversations), context), numpy.uint16)
    owner = numpy.zeros((len(conversations), context), numpy.uint16)
    reply = numpy.zeros((len(conversations), context), bool)
    for i, c in enumerate(conversations):
        prompt = tokenizer.encode(tokenization.chat(c["messages"], True)).ids
        whole = tokenizer.encode(tokenization.chat(c["messages"] + [{"role": "assistant", "content": c["reply"]}])).ids[:-1]
        assert whole[:len(prompt)] == prompt and len(whole) <= context
        tokens[i, :len(whole)] = whole
        owner[i, :len(whole)] = 1
        reply[i, len(prompt) - 1:len(whole) - 1] = True  # the positions that predict the reply
    return tokens, owner, reply


# ---------------------------------------------------------------------------------------------------------------------------------


def plot(log, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    steps = [r["tokens"] / 1e6 for r in log]
    window = max(1, len(log) // 100)
    smooth = [sum(r["train_loss"] for r in log[max(0, i - window + 1):i + 1]) / len(log[max(0, i - window + 1):i + 1]) for i in range(len(log))]
    held = [r for r in log if r["held_out_loss"] != ""]
    figure, left = plt.subplots(figsize=(9, 5), dpi=110)
    left.plot(steps, [r["train_loss"] for r in log], color="#9ecae1", linewidth=0.7, label="training loss")
    left.plot(steps, smooth, color="#2171b5", linewidth=1.6, label="training loss, smoothed")
    left.plot([r["tokens"] / 1e6 for r in held], [r["held_out_loss"] for r in held], color="#d94801", marker="o", markersize=3, linewidth=1.2, label="held-out loss")
    left.set_xlabel("tokens seen (millions)")
    left.set_ylabel("cross-entropy (nats per token)")
    left.set_yscale("log")
    left.set_ylim(0.4, 10)
    left.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    left.minorticks_off()
    left.grid(alpha=0.3)
    right = left.twinx()
    right.plot([r["tokens"] / 1e6 for r in held], [100 * r["held_out_recall"] for r in held], color="#238b45", linestyle="--", linewidth=1.4, label="held-out recall")
    right.set_ylabel("replies recalled word for word, teacher-forced (%)")
    right.set_ylim(0, 102)
    left.set_title("baton-tiny: loss and recall during training")
    lines = left.get_lines() + right.get_lines()
    left.legend(lines, [x.get_label() for x in lines], loc="upper center", bbox_to_anchor=(0.5, -0.13), ncol=4, frameon=False)
    for axes in (left, right):
        axes.spines["top"].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--out", default=os.path.join(here, "..", "baton-tiny"))
    parser.add_argument("--tokenizer", default=os.path.join(here, "..", "baton-tiny", "tokenizer.json"))
    parser.add_argument("--tokens", type=float, default=300e6)
    parser.add_argument("--rows", type=int, default=64, help="rows of 2,048 tokens in a step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) * 5 // 8))
    parser.add_argument("--every", type=int, default=100, help="steps between two looks at the held-out rows")
    parser.add_argument("--limit-seconds", type=float, default=1e9, help="stop and save after this long")
    parser.add_argument("--untrained", action="store_true", help="only write the model as it is before the first step")
    parser.add_argument("--tiny", action="store_true", help="a very small model and step, to try the script on a CPU")
    a = parser.parse_args()

    torch.manual_seed(a.seed)
    torch.set_num_threads(2)  # the other cores write text
    c = dict(CONFIG)
    if a.tiny:
        c.update(hidden=128, heads=2, kv_heads=1, intermediate=256, layers=2)
    model = Model(c)
    if a.untrained:
        return export(model, a.out)
    os.makedirs(a.out, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.time()
    # Workers start before CUDA does, since they are forked.
    size = 500_000 if device == "cuda" else 20_000
    pool = multiprocessing.get_context("fork").Pool(a.workers, _open_tokenizer, (a.tokenizer,))
    jobs = math.ceil(a.tokens / size * 1.2) + 2  # rows are not quite full, and documents over 2,048 tokens are dropped
    shards = pool.imap(shard, [(f"training {a.seed}", i, size, c["context"]) for i in range(jobs)])
    _open_tokenizer(a.tokenizer)
    held_tokens, held_owner = shard((f"held-out {a.seed}", 0, 100_000 if device == "cuda" else 10_000, c["context"]))
    conversations = generate.held_out(a.seed + 1000, 200 if device == "cuda" else 4, "training")
    recall_tokens, recall_owner, recall_reply = recall_rows(_tokenizer, conversations, c["context"])

    model = model.to(device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {torch.cuda.get_device_name() if device == 'cuda' else 'CPU'}", flush=True)
    if device == "cuda":
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        torch.set_float32_matmul_precision("high")
        make_mask = torch.compile(create_block_mask, dynamic=False)

        def block_mask(owner):
            def inside(b, h, q, k):
                return (q >= k) & (owner[b, q] == owner[b, k])

            return make_mask(inside, owner.shape[0], None, owner.shape[1], owner.shape[1], device=owner.device)

        def step_loss(tokens, targets, mask):
            return model(tokens, targets, lambda q, k, v: flex_attention(q, k, v, block_mask=mask, enable_gqa=True))

        step_loss = torch.compile(step_loss, dynamic=False)
    else:
        def block_mask(owner):
            t = owner.shape[1]
            return (owner[:, None, :, None] == owner[:, None, None, :]) & torch.ones(t, t, dtype=torch.bool).tril()

        def step_loss(tokens, targets, mask):
            return model(tokens, targets, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True))

    wide = [p for p in model.parameters() if p.dim() == 2]
    thin = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": wide, "weight_decay": a.decay}, {"params": thin, "weight_decay": 0.0}],
                                  lr=a.rate, betas=(0.9, 0.95), fused=device == "cuda")
    steps = max(2, int(a.tokens / (a.rows * c["context"])))

    def rate(step):
        if step < a.warmup:
            return a.rate * (step + 1) / a.warmup
        done = (step - a.warmup) / max(1, steps - a.warmup)
        return a.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))

    def forward(tokens, owner):
        tokens, owner, targets = to_device(tokens, owner, device)
        with torch.autocast(device, torch.bfloat16):
            loss, best = step_loss(tokens, targets, block_mask(owner))
        return loss, best, targets

    def look():
        """Held-out loss, and the share of held-out replies whose every token is the most likely one."""
        total = count = 0.0
        right = []
        with torch.no_grad():
            for tokens, owner, reply in ((held_tokens, held_owner, None), (recall_tokens, recall_owner, recall_reply)):
                for i in range(0, len(tokens), a.rows):
                    n = len(tokens[i:i + a.rows])
                    fill = numpy.zeros((a.rows - n, c["context"]), numpy.uint16)
                    loss, best, targets = forward(numpy.concatenate((tokens[i:i + a.rows], fill)), numpy.concatenate((owner[i:i + a.rows], fill)))
                    if reply is None:
                        total += loss.sum().item()
                        count += (targets >= 0).sum().item()
                    else:
                        inside = torch.from_numpy(reply[i:i + a.rows]).to(device)
                        right += ((best == targets)[:n] | ~inside).all(1).tolist()
        return total / count, sum(right) / len(right)

    log, last = [], started
    for step, (tokens, owner) in enumerate(batches(shards, a.rows)):
        if step >= steps or time.time() - started > a.limit_seconds:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        loss, _, targets = forward(tokens, owner)
        mean = loss.sum() / (targets >= 0).sum()
        mean.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 10 == 9 or step == steps - 1:
            row = {"step": step + 1, "tokens": (step + 1) * a.rows * c["context"], "train_loss": round(mean.item(), 4), "held_out_loss": "", "held_out_recall": "",
                   "rate": round(rate(step), 7), "seconds": round(time.time() - started, 1)}
            if (step + 1) % a.every == 0 or step == steps - 1:
                held, recall = look()
                row["held_out_loss"], row["held_out_recall"] = round(held, 4), round(recall, 4)
                now = time.time()
                print(f"step {step + 1}/{steps} loss {mean.item():.4f} norm {norm.item():.2f} held-out {held:.4f} recall {recall:.3f} "
                      f"{a.every * a.rows * c['context'] / (now - last) / 1e6:.2f} M tokens/s {now - started:.0f} s", flush=True)
                last = now
            log.append(row)
    pool.terminate()
    export(model, a.out)
    with open(os.path.join(a.out, "loss.csv"), "w", newline="") as f:
        writer = csv.DictWriter(f, log[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(log)
    try:
        plot(log, os.path.join(a.out, "loss.png"))
    except ImportError:
        print("matplotlib is not installed: no picture of the loss")


if __name__ == "__main__":
    main()
