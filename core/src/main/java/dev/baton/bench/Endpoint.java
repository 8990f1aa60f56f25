package dev.baton.bench;

import java.util.Map;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// The two OpenAI endpoints that a benchmark can load, and what is sent to them.
public enum Endpoint {
    COMPLETIONS("/v1/completions"),
    CHAT("/v1/chat/completions");

    private final String path;

    Endpoint(String path) {
        this.path = path;
    }

    /// The usual path.
    public String path() {
        return path;
    }

    /// The body of a request, as `vllm bench serve` sends it.
    ///
    /// @param sampling further members, for example `temperature`
    ObjectNode body(String model, BenchRequest request, boolean ignoreEos, Map<String, Double> sampling) {
        ObjectNode body = JsonNodeFactory.instance.objectNode();
        body.put("model", model);
        switch (this) {
            case COMPLETIONS -> {
                switch (request.prompt()) {
                    case Prompt.Text text -> body.put("prompt", text.text());
                    case Prompt.Tokens tokens -> {
                        for (int id : tokens.tokenIds()) {
                            body.withArray("prompt").add(id);
                        }
                    }
                }
                body.put("repetition_penalty", 1.0);
                body.put("max_tokens", request.outputTokens());
                body.putNull("logprobs");
            }
            case CHAT -> {
                if (!(request.prompt() instanceof Prompt.Text text)) {
                    throw new IllegalStateException("a chat message is text");
                }
                ObjectNode message = body.putArray("messages").addObject();
                message.put("role", "user");
                message.putArray("content").addObject().put("type", "text").put("text", text.text());
                body.put("max_completion_tokens", request.outputTokens());
            }
        }
        body.put("stream", true);
        body.putObject("stream_options").put("include_usage", true);
        if (ignoreEos) {
            body.put("ignore_eos", true);
        }
        sampling.forEach(body::put);
        return body;
    }
}
