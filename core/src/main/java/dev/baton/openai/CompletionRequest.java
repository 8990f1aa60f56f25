package dev.baton.openai;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import tools.jackson.databind.JsonNode;

/// The body of `POST /v1/completions`.
///
/// @param model the model asked for, if any was
/// @param prompts at least one; choice `i` of prompt `p` has index `i + p * n`
public record CompletionRequest(Optional<String> model, List<Prompt> prompts, GenerationOptions options) {
    /// Most prompts in one request.
    public static final int MAX_PROMPTS = 2048;

    private static final int DEFAULT_MAX_TOKENS = 16;

    /// Reads and checks a body.
    ///
    /// @throws ApiException with vLLM's answer to what is wrong
    public static CompletionRequest parse(JsonNode body) {
        Fields fields = Fields.ofBody(body);
        Optional<String> model = fields.string("model");
        Optional<List<Prompt>> prompts = fields.node("prompt").map(node -> prompts(fields, node));
        OptionalInt maxTokens = OptionalInt.of(fields.integer("max_tokens").orElse(DEFAULT_MAX_TOKENS));
        OptionalInt logprobs = fields.integer("logprobs");
        fields.check();
        if (logprobs.isPresent() && logprobs.getAsInt() < -1) {
            throw Ranges.badValue("`logprobs` must be a positive value or -1.", "logprobs", logprobs.getAsInt());
        }
        if (fields.string("suffix").filter(suffix -> !suffix.isEmpty()).isPresent()) {
            throw new ApiException(ApiError.badRequest("suffix is not currently supported"));
        }
        GenerationOptions options =
                GenerationOptions.read(fields, maxTokens, logprobs, GenerationOptions.Api.COMPLETIONS);
        if (prompts.isEmpty()
                || prompts.get().isEmpty()
                || prompts.get().stream().anyMatch(CompletionRequest::isEmpty)) {
            throw new ApiException(ApiError.badRequest(
                    "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)", "prompt"));
        }
        if (prompts.get().size() > MAX_PROMPTS) {
            throw new ApiException(ApiError.badRequest(
                    "prompt must have at most " + MAX_PROMPTS + " items, got "
                            + prompts.get().size() + ".",
                    "prompt"));
        }
        return new CompletionRequest(model, prompts.get(), options);
    }

    private static boolean isEmpty(Prompt prompt) {
        return switch (prompt) {
            case Prompt.Text text -> text.text().isEmpty();
            case Prompt.Tokens tokens -> tokens.ids().length == 0;
        };
    }

    private static List<Prompt> prompts(Fields fields, JsonNode node) {
        if (node.isString()) {
            return List.of(text(node));
        }
        if (!node.isArray()) {
            return wrongType(fields, node);
        }
        if (node.isEmpty()) {
            return List.of();
        }
        if (node.get(0).isNumber()) {
            Optional<Prompt> tokens = tokens(fields, node);
            return tokens.map(List::of).orElse(List.of());
        }
        List<Prompt> prompts = new ArrayList<>(node.size());
        boolean texts = node.get(0).isString();
        for (JsonNode item : node) {
            if (texts && item.isString()) {
                prompts.add(text(item));
            } else if (!texts && item.isArray()) {
                tokens(fields, item).ifPresent(prompts::add);
            } else {
                return wrongType(fields, node);
            }
        }
        return prompts;
    }

    private static Prompt text(JsonNode node) {
        Text.requireWellFormed(node.stringValue(), "body.prompt");
        return new Prompt.Text(node.stringValue());
    }

    private static Optional<Prompt> tokens(Fields fields, JsonNode list) {
        if (list instanceof TokenIds read) {
            return Optional.of(new Prompt.Tokens(read.ids()));
        }
        int[] ids = new int[list.size()];
        int i = 0;
        for (JsonNode item : list) {
            if (!item.isIntegralNumber()) {
                fields.wrong("int_type", "prompt." + i, "Input should be a valid integer", item);
                return Optional.empty();
            }
            ids[i++] = item.canConvertToInt() ? item.intValue() : Integer.MAX_VALUE;
        }
        return Optional.of(new Prompt.Tokens(ids));
    }

    /// The field takes four types; vLLM's validator complains once for each.
    private static List<Prompt> wrongType(Fields fields, JsonNode node) {
        fields.wrong("list_type", "prompt", "Input should be a valid list", node);
        fields.wrong("list_type", "prompt", "Input should be a valid list", node);
        fields.wrong("string_type", "prompt", "Input should be a valid string", node);
        fields.wrong("list_type", "prompt", "Input should be a valid list", node);
        return List.of();
    }
}
