package dev.baton.serving;

import dev.baton.openai.KvTransferJson;
import dev.baton.transfer.KvTransferParams;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;

/// Reads and writes `kv_transfer_params` in the form of vLLM's NIXL connector.
final class KvParams {
    private static final Logger LOG = LoggerFactory.getLogger(KvParams.class);

    private KvParams() {}

    /// What a body says about its hand-off. Each of the keys may be absent or `null`; what does not make sense is
    /// logged and treated as absent, so that the prompt is computed here.
    static Optional<KvTransferParams> parse(JsonNode body) {
        JsonNode params = body.path("kv_transfer_params");
        if (!params.isObject()) {
            return Optional.empty();
        }
        if (isTrue(params, "do_remote_decode")) {
            return Optional.of(new KvTransferParams.RemoteDecode());
        }
        if (!isTrue(params, "do_remote_prefill")) {
            return Optional.empty();
        }
        try {
            return Optional.of(new KvTransferParams.RemotePrefill(
                    text(params, "remote_engine_id"),
                    text(params, "remote_request_id"),
                    blockIds(params.path("remote_block_ids")),
                    text(params, "remote_host"),
                    number(params.path("remote_port"), "remote_port", 1),
                    params.path("tp_size").isNull() || params.path("tp_size").isMissingNode()
                            ? 1
                            : number(params.path("tp_size"), "tp_size", 1),
                    number(params.path("remote_num_tokens"), "remote_num_tokens", 1),
                    // Baton's own key: vLLM's engines do not send it.
                    params.hasNonNull("remote_prompt_digest") ? text(params, "remote_prompt_digest") : ""));
        } catch (IllegalArgumentException e) {
            LOG.warn("kv_transfer_params cannot be used, the prompt is computed here: {}", e.getMessage());
            return Optional.empty();
        }
    }

    private static boolean isTrue(JsonNode params, String key) {
        return params.path(key).isBoolean() && params.path(key).booleanValue();
    }

    private static String text(JsonNode params, String key) {
        JsonNode value = params.path(key);
        if (!value.isString() || value.stringValue().isBlank()) {
            throw new IllegalArgumentException(key + " must be a text, got " + brief(value));
        }
        return value.stringValue();
    }

    private static int number(JsonNode value, String key, int least) {
        if (!value.isIntegralNumber() || !value.canConvertToInt() || value.intValue() < least) {
            throw new IllegalArgumentException(
                    key + " must be an integer of at least " + least + ", got " + brief(value));
        }
        return value.intValue();
    }

    /// A flat list, or as vLLM writes it today, a list for each cache group, of which there is one.
    private static List<Integer> blockIds(JsonNode value) {
        JsonNode list = value.isArray() && value.size() == 1 && value.get(0).isArray() ? value.get(0) : value;
        if (!list.isArray() || list.isEmpty()) {
            throw new IllegalArgumentException("remote_block_ids must be a list of block ids, got " + brief(value));
        }
        List<Integer> ids = new ArrayList<>(list.size());
        for (JsonNode item : list) {
            ids.add(number(item, "remote_block_ids", 0));
        }
        return List.copyOf(ids);
    }

    private static String brief(JsonNode value) {
        if (value.isMissingNode()) {
            return "nothing";
        }
        return value.isContainer()
                ? value.getNodeType().toString().toLowerCase(java.util.Locale.ROOT)
                : value.toString();
    }

    static KvTransferJson toJson(KvTransferParams.RemotePrefill params) {
        return new KvTransferJson(
                params.blockIds(),
                params.engineId(),
                params.requestId(),
                params.host(),
                params.port(),
                params.tpSize(),
                params.numTokens(),
                params.promptDigest());
    }
}
