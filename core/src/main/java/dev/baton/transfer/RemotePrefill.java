package dev.baton.transfer;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Where a prompt's blocks lie: what a prefiller says in its answer's `kv_transfer_params` and the router passes on
/// to the decoder, in the form of vLLM's NIXL connector.
///
/// @param engineId the prefiller's `remote_engine_id`; a restarted prefiller has another one
/// @param requestId the request's id inside the prefiller (`remote_request_id`), or that of a transfer under way
/// @param blockIds the prompt's blocks on the prefiller, in order (`remote_block_ids`); none of a transfer under
///     way
/// @param host where the prefiller's side channel listens (`remote_host`)
/// @param port its port (`remote_port`)
/// @param tpSize tensor-parallel size of the prefiller (`tp_size`)
/// @param numTokens tokens that the blocks hold; the last block may be partial (`remote_num_tokens`)
public record RemotePrefill(
        String engineId, String requestId, List<Integer> blockIds, String host, int port, int tpSize, int numTokens) {

    /// The key of what both legs of a request know it by, whose prompt is sent while it is computed.
    public static final String TRANSFER_ID = "transfer_id";

    /// Baton's own key by which a prefiller's answer says that it can also be asked for a prompt before it has run.
    public static final String PUSHES = "remote_pushes";

    /// Reads a request's parameters.
    ///
    /// @throws IllegalArgumentException if a key is missing or makes no sense; the message names it
    public static RemotePrefill of(KvTransferParams params) {
        return new RemotePrefill(
                params.requiredText("remote_engine_id"),
                params.requiredText("remote_request_id"),
                params.requiredBlockIds("remote_block_ids"),
                params.requiredText("remote_host"),
                params.requiredNumber("remote_port", 1),
                params.number("tp_size", 1).orElse(1),
                params.requiredNumber("remote_num_tokens", 1));
    }

    /// Reads the parameters of a request whose prompt the prefiller computes at the same time: both legs carry a
    /// `transfer_id`, and no block is known yet.
    ///
    /// @param numTokens of the prompt
    /// @throws IllegalArgumentException if a key is missing or makes no sense; the message names it
    public static RemotePrefill underWay(KvTransferParams params, int numTokens) {
        return new RemotePrefill(
                params.requiredText("remote_engine_id"),
                params.requiredText(TRANSFER_ID),
                List.of(),
                params.requiredText("remote_host"),
                params.requiredNumber("remote_port", 1),
                params.number("tp_size", 1).orElse(1),
                numTokens);
    }

    /// Whether the parameters are of a prompt that is computed at the same time.
    public static boolean isUnderWay(KvTransferParams params) {
        return params.fields().containsKey(TRANSFER_ID) && !params.fields().containsKey("remote_block_ids");
    }

    /// Whether the prompt is computed at the same time: its blocks are asked for by its transfer's id.
    public boolean isUnderWay() {
        return blockIds.isEmpty();
    }

    /// What goes into the answer, and comes to the decoder.
    public KvTransferParams toParams() {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("do_remote_prefill", true);
        fields.put("do_remote_decode", false);
        fields.put("remote_block_ids", List.of(blockIds));
        fields.put("remote_engine_id", engineId);
        fields.put("remote_request_id", requestId);
        fields.put("remote_host", host);
        fields.put("remote_port", port);
        fields.put("tp_size", tpSize);
        fields.put("remote_num_tokens", numTokens);
        return new KvTransferParams(fields);
    }
}
