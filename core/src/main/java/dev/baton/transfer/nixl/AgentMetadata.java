package dev.baton.transfer.nixl;

import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import java.net.ProtocolException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;

/// What an engine tells others about the memory that they may read: `NixlAgentMetadata` of vLLM 0.32, under its
/// names. A Baton adds `baton`, which vLLM passes over.
///
/// A region holds one layer: block `i` of it begins at `base + i * stride` and has `length` bytes.
///
/// @param agent the NIXL agent's metadata
/// @param bases `kv_caches_base_addr`, by region
/// @param numBlocks blocks in a region
/// @param lengths `block_lens`, by region
/// @param strides `block_strides`, by region
/// @param layout `kv_cache_layout`: `LBHNC` for blocks of (head, token, key and value)
/// @param blockTokens `block_size`: tokens in a block of a region
/// @param attentionBackend `attn_backend_name`
/// @param blocksPerLogical blocks of a region in one block of the scheduler
/// @param memoryTypes `region_mem_types`, by region; `DRAM` or `VRAM`
/// @param shards context-parallel size, `dcp_size` or `pcp_size`: 1 if one engine has all tokens
/// @param baton how a Baton reads here, if this is one
record AgentMetadata(
        String engineId,
        byte[] agent,
        long[] bases,
        int deviceId,
        int numBlocks,
        long[] lengths,
        long[] strides,
        String layout,
        int blockTokens,
        String attentionBackend,
        int blocksPerLogical,
        List<String> memoryTypes,
        int shards,
        Optional<BatonPool> baton) {

    /// A Baton's whole pool, whose blocks another Baton reads in one piece.
    ///
    /// @param base address of the pool
    /// @param blockBytes bytes of one block
    /// @param fields what must be equal on both sides, by name
    /// @param sums checksums that it computes fastest
    record BatonPool(long base, long blockBytes, int numBlocks, SortedMap<String, String> fields, BlockSums sums) {
        BatonPool {
            fields = new TreeMap<>(fields);
        }
    }

    /// Values of `region_mem_types`.
    static final String DRAM = "DRAM";

    static final String VRAM = "VRAM";

    /// In the order and the types of vLLM's class.
    byte[] encode() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("engine_id", engineId);
        map.put("agent_metadata", agent);
        map.put("kv_caches_base_addr", bases);
        map.put("device_id", deviceId);
        map.put("num_blocks", numBlocks);
        map.put("block_lens", lengths);
        map.put("block_strides", strides);
        map.put("kv_cache_layout", layout);
        map.put("block_size", blockTokens);
        map.put("ssm_sizes", List.of(0, 0));
        map.put("attn_backend_name", attentionBackend);
        map.put("physical_blocks_per_logical_kv_block", blocksPerLogical);
        // Absent: all regions have num_blocks, the reader's groups and the reader's names.
        map.put("region_num_blocks", MsgPack.Nil.NIL);
        map.put("region_group_ids", MsgPack.Nil.NIL);
        map.put("region_names", MsgPack.Nil.NIL);
        map.put("region_mem_types", memoryTypes);
        map.put("dcp_size", 1);
        map.put("pcp_size", 1);
        map.put("ple_block_len", MsgPack.Nil.NIL);
        map.put("region_members", List.of());
        map.put("packed_member_layouts", Map.of());
        baton.ifPresent(pool -> {
            Map<String, Object> own = new LinkedHashMap<>();
            own.put("base", pool.base());
            own.put("block_bytes", pool.blockBytes());
            own.put("num_blocks", pool.numBlocks());
            own.put("fields", new TreeMap<String, Object>(pool.fields()));
            own.put("on_device", pool.sums() == BlockSums.DEVICE);
            map.put("baton", own);
        });
        return MsgPack.write(map);
    }

    /// Reads what a peer said.
    ///
    /// @throws ProtocolException if a field is missing or is something else; names it
    static AgentMetadata decode(byte[] bytes) throws ProtocolException {
        Fields in = MsgPack.map("NixlAgentMetadata", bytes);
        long[] bases = in.numbers("kv_caches_base_addr");
        long[] lengths = in.numbers("block_lens");
        long[] strides = in.has("block_strides") ? in.numbers("block_strides") : lengths.clone();
        if (bases.length == 0 || lengths.length != bases.length || strides.length != bases.length) {
            throw new ProtocolException("NixlAgentMetadata: %d base addresses, %d block_lens, %d block_strides"
                    .formatted(bases.length, lengths.length, strides.length));
        }
        Optional<BatonPool> baton = Optional.empty();
        if (in.has("baton")) {
            Fields own = in.map("baton");
            baton = Optional.of(new BatonPool(
                    own.number("base", 1, Long.MAX_VALUE),
                    own.number("block_bytes", 1, Integer.MAX_VALUE),
                    (int) own.number("num_blocks", 1, Integer.MAX_VALUE),
                    own.textMap("fields"),
                    own.truthOr("on_device", false) ? BlockSums.DEVICE : BlockSums.CRC32C));
        }
        return new AgentMetadata(
                in.text("engine_id"),
                in.bytes("agent_metadata"),
                bases,
                (int) in.number("device_id", 0, Integer.MAX_VALUE),
                (int) in.number("num_blocks", 1, Integer.MAX_VALUE),
                lengths,
                strides,
                in.text("kv_cache_layout"),
                (int) in.number("block_size", 1, 1 << 20),
                in.text("attn_backend_name"),
                (int) in.numberOr("physical_blocks_per_logical_kv_block", 1, 1 << 20, 1),
                in.has("region_mem_types") ? in.texts("region_mem_types") : List.of(DRAM),
                (int) Math.max(in.numberOr("dcp_size", 1, 1 << 16, 1), in.numberOr("pcp_size", 1, 1 << 16, 1)),
                baton);
    }
}
