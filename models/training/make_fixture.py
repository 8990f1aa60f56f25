"""Writes greedy continuations of baton-tiny by Hugging Face transformers in float32 on the CPU, as a fixture for the Java tests.

For each prompt: its text or messages, the token ids that the tokenizer gives, the greedily generated ids, and at each step the gap
between the two largest logits, so that a test knows where two engines may differ by rounding alone. Generation stops after an
end-of-sequence token, which is kept.
"""

import argparse
import json
import os

import torch
import transformers

import evaluate
import generate

TEXTS = [
    "Once upon a time",
    "Once upon a time there was a fox who had lost its hat.",
    "In the town of Bergen lived a clever owl. The name of the owl was Mira.",
    "Nora lives in Lisbon. Paul is 47 years old. Nora has the phone number 58213.\n\nQuestion: What is the phone number of Nora?\nAnswer:",
    "Here are the codes.\nThe code of lamp is 9041.\nThe code of kettle is 77120.\nThe code of drum is 352.\n\nQuestion: Which code does kettle have?\nAnswer:",
    "José Renée Łucja 🙂 São Paulo, \t tabs\n\n\nand   spaces: 3.14 isn't we'll",
    "a",
]
CHATS = [
    ["Hello!"],
    ["Who are you?"],
    ["My name is Zorblax, and my cat is called Miso.", "I will remember that.", "What is my cat called?"],
    ["Tell me a story about a heron named Tilda."],
    ["The locker code is 4827. I live in Kyoto.", "Noted.", "What is 3 plus 4?", "3 plus 4 is 7.", "What is the locker code?"],
    ["my name is søren and i work as a baker", "Got it.", "what is my job"],
]


def continuation(model, ids, count, stops):
    """Greedy token by token over the cache, with the gap between the two largest logits."""
    out, gaps = [], []
    with torch.no_grad():
        step = model(torch.tensor([ids]), use_cache=True)
        while True:
            top = step.logits[0, -1].float().topk(2)
            token = int(top.indices[0])
            out.append(token)
            gaps.append(round(float(top.values[0] - top.values[1]), 4))
            if token in stops or len(out) == count:
                return out, gaps
            step = model(torch.tensor([[token]]), past_key_values=step.past_key_values, use_cache=True)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.path.join(here, "..", "baton-tiny"))
    parser.add_argument("--out", default=os.path.join(here, "..", "..", "core", "src", "test", "resources", "fixtures", "baton-tiny-greedy.json"))
    parser.add_argument("--tokens", type=int, default=48)
    a = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(a.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    stops = set(model.generation_config.eos_token_id)
    items = [{"prompt": t} for t in TEXTS]
    items += [{"messages": [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(chat)]} for chat in CHATS]
    held = generate.held_out(evaluate.SEED, 100, "training")
    held.sort(key=lambda c: sum(len(m["content"]) for m in c["messages"]))
    items += [{"messages": held[i]["messages"], "expected": held[i]["expected"]} for i in (2, 25, 50, 65, 75, 85, 95)]
    results = []
    for item in items:
        if "prompt" in item:
            ids = tokenizer(item["prompt"]).input_ids
        else:
            item["rendered"] = tokenizer.apply_chat_template(item["messages"], tokenize=False, add_generation_prompt=True)
            ids = tokenizer(item["rendered"], add_special_tokens=False).input_ids
        generated, gaps = continuation(model, ids, a.tokens, stops)
        text = tokenizer.decode(generated, skip_special_tokens=True)
        assert item.get("expected", "") in text
        results.append(dict(item, prompt_token_ids=ids, generated_token_ids=generated, top2_logit_gaps=gaps, text=text))
        print(len(ids), len(generated), min(gaps), repr(text[:90]))
    fixture = {
        "model": "baton-tiny", "dtype": "float32", "torch": torch.__version__, "transformers": transformers.__version__,
        "eos_token_ids": sorted(stops), "items": results,
    }
    os.makedirs(os.path.dirname(a.out), exist_ok=True)
    with open(a.out, "w", encoding="utf-8") as f:
        # One item a line, so that a difference stays readable.
        head = json.dumps({k: v for k, v in fixture.items() if k != "items"})[:-1]
        f.write(head + ', "items": [\n' + ",\n".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in results) + "\n]}\n")
    print(f"{os.path.getsize(a.out):,} bytes")


if __name__ == "__main__":
    main()
