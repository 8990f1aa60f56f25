package dev.baton.transfer.nixl;

import dev.baton.transfer.KvTransferParams;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

/// Where a prompt's blocks lie, in the `kv_transfer_params` of vLLM's NIXL connector.
///
/// @param blockIds `remote_block_ids`, blocks of the regions that the peer describes; empty if there are none
/// @param poolBlockIds `baton_block_ids`, blocks of a Baton's pool; empty if the peer is none
/// @param numTokens `remote_num_tokens`; older engines do not say it
record NixlSource(
        PeerAddress peer,
        String requestId,
        List<Integer> blockIds,
        List<Integer> poolBlockIds,
        int tpSize,
        OptionalInt numTokens) {

    private static final String POOL_BLOCK_IDS = "baton_block_ids";
    private static final int MAX_PORT = 65_535;
    private static final int MAX_ID = 1_024;

    /// Reads a request's parameters.
    ///
    /// @throws IllegalArgumentException if a key is missing or makes no sense; the message names it
    static NixlSource of(KvTransferParams params) {
        int port = params.requiredNumber("remote_port", 1);
        if (port > MAX_PORT) {
            throw new IllegalArgumentException("remote_port must be at most 65535, got " + port);
        }
        return new NixlSource(
                new PeerAddress(id(params, "remote_engine_id"), id(params, "remote_host"), port),
                id(params, "remote_request_id"),
                params.requiredBlockIds("remote_block_ids"),
                params.fields().containsKey(POOL_BLOCK_IDS) ? params.requiredBlockIds(POOL_BLOCK_IDS) : List.of(),
                params.number("tp_size", 1).orElse(1),
                params.number("remote_num_tokens", 1));
    }

    /// Reads who is to be told that nobody comes; empty if the parameters do not say.
    static Optional<NixlSource> toRelease(KvTransferParams params) {
        if (!params.doRemotePrefill()) {
            return Optional.empty();
        }
        try {
            return Optional.of(of(params));
        } catch (IllegalArgumentException e) {
            return Optional.empty();
        }
    }

    private static String id(KvTransferParams params, String key) {
        String text = params.requiredText(key);
        if (text.length() > MAX_ID || text.chars().anyMatch(c -> c < ' ' || c == 0x7f)) {
            throw new IllegalArgumentException(key + " is longer than " + MAX_ID + " or has control characters");
        }
        return text;
    }

    /// What goes into the answer, and comes to the decoder.
    KvTransferParams toParams() {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("do_remote_prefill", true);
        fields.put("do_remote_decode", false);
        fields.put("remote_block_ids", List.of(blockIds));
        fields.put("remote_engine_id", peer.engineId());
        fields.put("remote_request_id", requestId);
        fields.put("remote_host", peer.host());
        fields.put("remote_port", peer.port());
        fields.put("tp_size", tpSize);
        fields.put("dcp_size", 1);
        fields.put("pp_size", 1);
        numTokens.ifPresent(tokens -> fields.put("remote_num_tokens", tokens));
        fields.put("transfer_mode", "pull");
        if (!poolBlockIds.isEmpty()) {
            fields.put(POOL_BLOCK_IDS, poolBlockIds);
        }
        return new KvTransferParams(fields);
    }
}
