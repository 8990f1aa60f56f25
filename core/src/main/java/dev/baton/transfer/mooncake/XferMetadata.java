package dev.baton.transfer.mooncake;

import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import java.net.ProtocolException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// A decoder's question for blocks: vLLM's `MooncakeXferMetadata`, one MessagePack map.
///
/// Fields are those of vLLM 0.32; `baton` is ours, and vLLM passes it over.
///
/// @param host where the decoder's Transfer Engine is (`remote_hostname`)
/// @param port the port of its handshake (`remote_port`)
/// @param wants by the request's id on the decoder (`req_blocks`)
/// @param regions the memory that it has registered
/// @param tpSize `remote_tp_size`
/// @param ppSize `remote_pp_size`
/// @param baton what only Baton says
record XferMetadata(
        String host,
        int port,
        Map<String, Want> wants,
        List<Region> regions,
        int tpSize,
        int ppSize,
        Optional<Baton> baton) {

    /// Longest message that is read.
    static final int MAX_BYTES = 4 << 20;

    private static final int MAX_ID_CHARS = 1_024;
    private static final int MAX_PARALLEL = 65_536;

    /// Blocks of one request that are wanted: the last ones of its prompt.
    ///
    /// @param blocks what the decoder calls them; empty if it only wants the prefiller to let go
    record Want(String transferId, long[] blocks) {
        boolean isRelease() {
            return blocks.length == 0;
        }
    }

    /// Registered memory; block `n` begins at `address + n * strideBytes`.
    ///
    /// @param payloadBytes bytes of a block (`kv_block_lens`)
    /// @param layer number of its layer
    record Region(long address, long strideBytes, long payloadBytes, String layerName, int layer) {}

    /// @param compatibility what must be equal on both sides, by name
    /// @param prompts digest of each request's prompt
    record Baton(Map<String, String> compatibility, Map<String, String> prompts) {}

    byte[] bytes() {
        Map<String, Object> requests = new LinkedHashMap<>();
        wants.forEach((id, want) -> requests.put(id, List.of(want.transferId(), List.of(want.blocks()))));
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("remote_hostname", host);
        map.put("remote_port", port);
        map.put("remote_tp_size", tpSize);
        map.put("remote_tp_rank", 0);
        map.put("req_blocks", requests);
        map.put("kv_caches_base_addr", regions.stream().map(Region::address).toList());
        map.put("block_lens", regions.stream().map(Region::strideBytes).toList());
        map.put("kv_block_lens", regions.stream().map(Region::payloadBytes).toList());
        map.put(
                "registered_layer_names",
                regions.stream().map(Region::layerName).toList());
        map.put("registered_layer_indices", regions.stream().map(Region::layer).toList());
        map.put("registered_group_indices", Collections.nCopies(regions.size(), 0));
        map.put("registered_shared_group_ids", Collections.nCopies(regions.size(), List.of(0)));
        map.put("registered_row_offsets", Collections.nCopies(regions.size(), -1));
        baton.ifPresent(it -> map.put("baton", Map.of("compatibility", it.compatibility(), "prompts", it.prompts())));
        return MsgPack.write(map);
    }

    static XferMetadata read(byte[] message) throws ProtocolException {
        Fields fields = MsgPack.map("MooncakeXferMetadata", message);
        Map<String, Want> wants = new LinkedHashMap<>();
        Fields requests = fields.map("req_blocks");
        for (Map.Entry<String, Object> each : requests.map().entrySet()) {
            wants.put(id(each.getKey()), want(each.getKey(), each.getValue()));
        }
        if (wants.isEmpty()) {
            throw new ProtocolException("MooncakeXferMetadata without requests");
        }
        Optional<Baton> baton = Optional.empty();
        if (fields.has("baton")) {
            Fields own = fields.map("baton");
            baton = Optional.of(new Baton(own.textMap("compatibility"), own.textMap("prompts")));
        }
        return new XferMetadata(
                id(fields.text("remote_hostname")),
                (int) fields.number("remote_port", 1, 65_535),
                wants,
                regions(fields),
                (int) fields.number("remote_tp_size", 1, MAX_PARALLEL),
                (int) fields.numberOr("remote_pp_size", 1, MAX_PARALLEL, 1),
                baton);
    }

    private static Want want(String requestId, Object value) throws ProtocolException {
        if (!(value instanceof List<?> pair)
                || pair.size() != 2
                || !(pair.get(0) instanceof String transferId)
                || !(pair.get(1) instanceof List<?> groups)) {
            throw new ProtocolException("req_blocks of %s must be [transfer_id, [[block ids]]]".formatted(requestId));
        }
        if (groups.size() > 1) {
            throw new ProtocolException("KV group count mismatch: %s has %d groups of blocks, here there is one"
                    .formatted(requestId, groups.size()));
        }
        long[] blocks = groups.isEmpty() ? new long[0] : Fields.numbers("req_blocks of " + requestId, groups.get(0));
        return new Want(id(transferId), blocks);
    }

    private static List<Region> regions(Fields fields) throws ProtocolException {
        long[] bases = fields.numbers("kv_caches_base_addr");
        long[] strides = fields.numbers("block_lens");
        long[] payloads = fields.numbers("kv_block_lens");
        List<String> names = fields.texts("registered_layer_names");
        long[] layers = fields.numbers("registered_layer_indices");
        if (strides.length != bases.length
                || payloads.length != bases.length
                || names.size() != bases.length
                || layers.length != bases.length) {
            throw new ProtocolException("registered regions of different numbers: %d kv_caches_base_addr, %d block_lens"
                            .formatted(bases.length, strides.length)
                    + ", %d kv_block_lens, %d registered_layer_names, %d registered_layer_indices"
                            .formatted(payloads.length, names.size(), layers.length));
        }
        List<Region> regions = new ArrayList<>(bases.length);
        for (int i = 0; i < bases.length; i++) {
            if (layers[i] > Integer.MAX_VALUE || payloads[i] > strides[i]) {
                throw new ProtocolException("region %d: layer %d, kv_block_len %d, block_len %d"
                        .formatted(i, layers[i], payloads[i], strides[i]));
            }
            regions.add(new Region(bases[i], strides[i], payloads[i], names.get(i), (int) layers[i]));
        }
        return regions;
    }

    /// A text that goes into logs and answers.
    private static String id(String text) throws ProtocolException {
        if (!isId(text)) {
            throw new ProtocolException(
                    "an id or a host that is empty, longer than %d characters or has control characters"
                            .formatted(MAX_ID_CHARS));
        }
        return text;
    }

    /// Whether a text may travel as an id.
    static boolean isId(String text) {
        return !text.isEmpty() && text.length() <= MAX_ID_CHARS && text.chars().noneMatch(Character::isISOControl);
    }
}
