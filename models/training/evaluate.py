"""Measures how well baton-tiny recalls: greedy answers by Hugging Face transformers in float32, through the chat template.

Writes heldout.jsonl (100 five-turn conversations; the last turn asks for a fact told once, in the first or second turn),
heldout-reserved.jsonl (the same, with values that never were facts in training) and recall.json (the figures). An answer counts as
right if it holds the expected value as a whole word.
"""

import argparse
import copy
import json
import os
import platform
import re

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers

import generate

SEED = 20000
BUCKETS = [(0, 100), (100, 250), (250, 500), (500, 1000), (1000, 1500), (1500, 2048)]


def answers(model, tokenizer, conversations, batch, device):
    """Greedy replies, in the order of the conversations."""
    prompts = [tokenizer.apply_chat_template(c["messages"], tokenize=False, add_generation_prompt=True) for c in conversations]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    out = [None] * len(prompts)
    for start in range(0, len(order), batch):
        some = order[start:start + batch]
        inputs = tokenizer([prompts[i] for i in some], add_special_tokens=False, padding=True, return_tensors="pt").to(device)
        with torch.no_grad():
            ids = model.generate(**inputs, max_new_tokens=40, do_sample=False)
        for i, row in zip(some, ids[:, inputs["input_ids"].shape[1]:]):
            out[i] = tokenizer.decode(row, skip_special_tokens=True)
    return out


def measure(conversations, replies, tokenizer):
    """Recall in all, by distance in tokens between the fact and the end of the prompt, and by kind of fact."""
    misses, by_distance, by_kind = [], {}, {}
    right = 0
    for c, reply in zip(conversations, replies):
        value = re.compile(r"(?<!\w)" + re.escape(c["expected"]) + r"(?!\w)")
        good = value.search(reply) is not None
        right += good
        prompt = tokenizer.apply_chat_template(c["messages"], tokenize=False, add_generation_prompt=True)
        distance = len(tokenizer.encode(prompt[list(value.finditer(prompt))[-1].start():], add_special_tokens=False))
        bucket = next(f"{low}-{high - 1}" for low, high in BUCKETS if low <= distance < high)
        for table, key in ((by_distance, bucket), (by_kind, c["kind"])):
            entry = table.setdefault(key, {"right": 0, "of": 0})
            entry["right"] += good
            entry["of"] += 1
        if not good and len(misses) < 10:
            misses.append({"question": c["messages"][-1]["content"], "expected": c["expected"], "reply": reply, "distance_tokens": distance})
    order = [f"{low}-{high - 1}" for low, high in BUCKETS]
    return {
        "conversations": len(conversations), "right": right, "recall": round(right / len(conversations), 4),
        "by_distance_tokens": {k: by_distance[k] for k in order if k in by_distance}, "by_kind": dict(sorted(by_kind.items())), "misses": misses,
    }


def damaged_recall(model, tokenizer, conversations, block_tokens, device):
    """Recall after the KV blocks that hold the tokens of the fact were overwritten between prefill and decode: with zeros, or with a
    copy of a neighbouring block. It is what a lost or misplaced block of a KV transfer does to an answer."""
    right = {"intact": 0, "zeroed": 0, "copy of a neighbour": 0}
    for c in conversations:
        value = re.compile(r"(?<!\w)" + re.escape(c["expected"]) + r"(?!\w)")
        prompt = tokenizer.apply_chat_template(c["messages"], tokenize=False, add_generation_prompt=True)
        first, last = list(value.finditer(prompt))[-1].span()
        encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
        hit = [i for i, (start, end) in enumerate(encoded.offset_mapping) if start < last and end > first]
        blocks = sorted({i // block_tokens for i in hit})
        ids = torch.tensor([encoded.input_ids], device=device)
        with torch.no_grad():
            cache = model(ids[:, :-1], use_cache=True).past_key_values
            length = ids.shape[1] - 1
            for mode in right:
                damaged = copy.deepcopy(cache)
                for layer in damaged.layers:
                    for held in (layer.keys, layer.values):
                        for block in blocks:
                            to = slice(block * block_tokens, min((block + 1) * block_tokens, length))
                            if mode == "zeroed":
                                held[:, :, to] = 0
                            elif mode != "intact":
                                other = block - 1 if block > 0 and block - 1 not in blocks else max(blocks) + 1
                                held[:, :, to] = held[:, :, other * block_tokens:other * block_tokens + to.stop - to.start].clone()
                token, out = ids[:, -1:], []
                for _ in range(24):
                    step = model(token, past_key_values=damaged, use_cache=True)
                    token = step.logits[:, -1:].argmax(-1)
                    if int(token) in model.generation_config.eos_token_id:
                        break
                    out.append(int(token))
                right[mode] += value.search(tokenizer.decode(out)) is not None
    return {"block_tokens": block_tokens, "conversations": len(conversations), "right": right}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.path.join(here, "..", "baton-tiny"))
    parser.add_argument("--out", default=here)
    parser.add_argument("--count", type=int, default=100, help="conversations of the committed sets")
    parser.add_argument("--many", type=int, default=0, help="conversations of two larger, uncommitted sets (for recall by distance)")
    parser.add_argument("--damage", type=int, default=0, metavar="BLOCK_TOKENS", help="also measure recall after the blocks of the fact were overwritten")
    parser.add_argument("--batch", type=int, default=16)
    a = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = transformers.AutoTokenizer.from_pretrained(a.model, padding_side="left")
    model = transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).to(device).eval()
    report = {"torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version(), "dtype": "float32", "sets": {}}
    os.makedirs(a.out, exist_ok=True)
    for mode, name in (("training", "heldout"), ("reserved", "heldout-reserved")):
        for suffix, count, seed in (("", a.count, SEED), ("-many", a.many, SEED + 1)):
            if not count:
                continue
            conversations = generate.held_out(seed, count, mode)
            replies = answers(model, tokenizer, conversations, a.batch, device)
            result = report["sets"][name + suffix] = measure(conversations, replies, tokenizer)
            print(f"{name + suffix}: {result['right']} of {result['conversations']} right; "
                  + "; ".join(f"{k} tokens: {v['right']}/{v['of']}" for k, v in result["by_distance_tokens"].items()), flush=True)
            if a.damage and name == "heldout" and not suffix:
                report["damaged"] = damaged_recall(model, tokenizer, conversations, a.damage, device)
                print(f"damaged: {report['damaged']}", flush=True)
            if not suffix:
                with open(os.path.join(a.out, name + ".jsonl"), "w") as f:
                    for c in conversations:
                        f.write(json.dumps(c, ensure_ascii=False) + "\n")
    with open(os.path.join(a.out, "recall.json"), "w") as f:
        json.dump(report, f, indent=1, ensure_ascii=False)
        f.write("\n")


if __name__ == "__main__":
    main()
