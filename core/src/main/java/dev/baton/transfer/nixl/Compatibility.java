package dev.baton.transfer.nixl;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/// What two engines of vLLM's NIXL connector must share, and the hash that they compare: the factors of
/// `compute_nixl_compatibility_hash` in vLLM 0.32, hashed as `hash_factors` does, which is SHA-256 over Python's
/// `json.dumps(..., sort_keys=True)`. Speculative decoding is none of them here (`null`).
///
/// @param vllmVersion `vllm.__version__`
/// @param connectorVersion vLLM's `NIXL_CONNECTOR_VERSION`
/// @param model as the vLLM engine was told it: a name, or a path
/// @param dtype of the model, PyTorch's name with its package: `torch.bfloat16`
/// @param attentionBackend name of the attention backend, `CPU_ATTN` on CPUs
/// @param cacheDtype vLLM's `--kv-cache-dtype`, `auto` unless it is given
/// @param hybridCacheManager whether vLLM's hybrid KV cache manager is on
record Compatibility(
        String vllmVersion,
        int connectorVersion,
        String model,
        String dtype,
        int kvHeads,
        int headSize,
        int layers,
        String attentionBackend,
        String cacheDtype,
        boolean hybridCacheManager) {

    /// The lower-case hexadecimal digest that a vLLM engine of these factors announces.
    String hash() {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(json().getBytes(StandardCharsets.US_ASCII));
            return HexFormat.of().formatHex(digest);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every Java has it
        }
    }

    /// The factors in the form that is hashed; for a log line as well.
    String json() {
        return "{\"attn_backend_name\": %s, \"cache_dtype\": %s, \"dtype\": %s, \"head_size\": %d,"
                        .formatted(quote(attentionBackend), quote(cacheDtype), quote(dtype), headSize)
                + " \"is_hma_enabled\": %b, \"model\": %s, \"nixl_connector_version\": %d,"
                        .formatted(hybridCacheManager, quote(model), connectorVersion)
                + " \"num_hidden_layers\": %d, \"num_kv_heads\": %d, \"speculative_config\": null,"
                        .formatted(layers, kvHeads)
                + " \"transfer_mode\": \"pull\", \"vllm_version\": %s}".formatted(quote(vllmVersion));
    }

    /// A text as Python's `json.dumps` writes it: ASCII only.
    private static String quote(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            switch (c) {
                case '"' -> out.append("\\\"");
                case '\\' -> out.append("\\\\");
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                case '\b' -> out.append("\\b");
                case '\f' -> out.append("\\f");
                default -> {
                    if (c < 0x20 || c > 0x7e) {
                        out.append("\\u%04x".formatted((int) c));
                    } else {
                        out.append(c);
                    }
                }
            }
        }
        return out.append('"').toString();
    }
}
