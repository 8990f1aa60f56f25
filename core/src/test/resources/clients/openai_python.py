"""What the official OpenAI client for Python sees of a router: run as `python openai_python.py BASE_URL`.

Prints one line for each thing that holds; ends with an exception where something does not.
"""
import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="unused", max_retries=0, timeout=60)
models = client.models.list().data
model = models[0].id
assert len(models) == 1 and models[0].object == "model", models
print("models")

prompt = "The colour of the sky is"
answer = client.completions.create(model=model, prompt=prompt, max_tokens=12, temperature=0)
assert answer.object == "text_completion" and answer.choices[0].finish_reason in ("length", "stop"), answer
assert answer.usage.completion_tokens <= 12 and answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
text = answer.choices[0].text
assert text
print("completion")

pieces = list(client.completions.create(model=model, prompt=prompt, max_tokens=12, temperature=0, stream=True,
                                        stream_options={"include_usage": True}))
assert "".join(c.text for piece in pieces for c in piece.choices) == text, (pieces, text)
assert [piece.usage for piece in pieces if piece.usage][-1].completion_tokens == answer.usage.completion_tokens
assert not pieces[-1].choices
print("completion, streamed, is the same text")

several = client.completions.create(model=model, prompt=[prompt, "One, two,"], max_tokens=4, temperature=0, logprobs=2)
assert [c.index for c in several.choices] == [0, 1]
assert text.startswith(several.choices[0].text) and len(several.choices[0].logprobs.token_logprobs) == 4
print("two prompts, log-probabilities")

messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Remember: the code is 7341. What is the code?"}]
chat = client.chat.completions.create(model=model, messages=messages, max_tokens=20, temperature=0, logprobs=True, top_logprobs=3)
message = chat.choices[0].message
assert message.role == "assistant" and chat.object == "chat.completion"
assert len(chat.choices[0].logprobs.content) == chat.usage.completion_tokens
assert all(len(token.top_logprobs) == 3 for token in chat.choices[0].logprobs.content)
print("chat")

with client.chat.completions.stream(model=model, messages=messages, max_tokens=20, temperature=0) as stream:
    events = [event.type for event in stream]
    final = stream.get_final_completion()
assert final.choices[0].message.content == message.content, (final, message)
assert "content.delta" in events
print("chat, streamed, is the same text")

turn = messages + [{"role": "assistant", "content": message.content}, {"role": "user", "content": "And again?"}]
again = client.chat.completions.create(model=model, messages=turn, max_tokens=8, temperature=0.7, seed=7, n=2)
assert len(again.choices) == 2
same = client.chat.completions.create(model=model, messages=turn, max_tokens=8, temperature=0.7, seed=7, n=2)
assert [c.message.content for c in again.choices] == [c.message.content for c in same.choices]
print("second turn, two choices, a seed repeats itself")

schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "hot": {"type": "boolean"}},
          "required": ["city", "hot"], "additionalProperties": False}
shaped = client.chat.completions.create(
    model=model, messages=messages, max_tokens=80, temperature=0,
    response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}})
value = json.loads(shaped.choices[0].message.content)
assert set(value) == {"city", "hot"} and isinstance(value["hot"], bool), value
print("structured output")

stopped = client.completions.create(model=model, prompt=prompt, max_tokens=12, temperature=0, stop=[text[3:6]])
assert stopped.choices[0].finish_reason == "stop" and text[3:6] not in stopped.choices[0].text
print("stop")

for kind, wrong in ((openai.NotFoundError, dict(model="another", prompt=prompt)),
                    (openai.BadRequestError, dict(model=model, prompt=prompt, max_tokens=-1)),
                    (openai.BadRequestError, dict(model=model, prompt=prompt, temperature=-1)),
                    (openai.BadRequestError, dict(model=model, prompt="word " * 9000, max_tokens=1))):
    try:
        client.completions.create(**wrong)
        raise AssertionError(f"no {kind.__name__} for {wrong.keys()}")
    except kind as error:
        assert error.body and error.body.get("message"), error
print("errors are the client's own classes")

broken = client.completions.create(model=model, prompt=prompt, max_tokens=1500, stream=True)
next(iter(broken))
broken.close()
print("a stream may be left")
