package dev.baton.transfer.nixl;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import java.net.ProtocolException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

class AgentMetadataTest {
    /// A NixlHandshakePayload as vLLM 0.32's own classes and msgspec write it.
    static final String VLLM_PAYLOAD = "82b2636f6d7061746962696c6974795f68617368d940"
            + "6162".repeat(32)
            + "b46167656e745f6d657461646174615f6279746573c501ebde0015a9656e67696e655f6964a8656e67696e652d31ae6167656e"
            + "745f6d65746164617461c4066e69786c00ffb36b765f6361636865735f626173655f6164647292cf00007f0000000000cf00007f"
            + "0000020000a96465766963655f696400aa6e756d5f626c6f636b73cd012caa626c6f636b5f6c656e7392ce00010000ce00010000"
            + "ad626c6f636b5f7374726964657392ce00010000ce00020000af6b765f63616368655f6c61796f7574a54c42484e43aa626c6f63"
            + "6b5f73697a65cc80a973736d5f73697a6573920000b16174746e5f6261636b656e645f6e616d65a84350555f4154544ed9247068"
            + "79736963616c5f626c6f636b735f7065725f6c6f676963616c5f6b765f626c6f636b01b1726567696f6e5f6e756d5f626c6f636b"
            + "7392cd012ccd012cb0726567696f6e5f67726f75705f696473920000ac726567696f6e5f6e616d657392bd6d6f64656c2e6c6179"
            + "6572732e302e73656c665f6174746e2e6174746ebd6d6f64656c2e6c61796572732e312e73656c665f6174746e2e6174746eb072"
            + "6567696f6e5f6d656d5f747970657392a44452414da44452414da86463705f73697a6501a87063705f73697a6501ad706c655f62"
            + "6c6f636b5f6c656ec0ae726567696f6e5f6d656d6265727390b57061636b65645f6d656d6265725f6c61796f75747380";

    static AgentMetadata ofVllm() throws ProtocolException {
        Fields outer = MsgPack.map("payload", HexFormat.of().parseHex(VLLM_PAYLOAD));
        assertThat(outer.text("compatibility_hash")).isEqualTo("ab".repeat(32));
        return AgentMetadata.decode(outer.bytes("agent_metadata_bytes"));
    }

    @Test
    void vllmsMetadataAreRead() throws ProtocolException {
        AgentMetadata read = ofVllm();
        assertThat(read.engineId()).isEqualTo("engine-1");
        assertThat(read.agent()).isEqualTo("nixl\0\u00ff".getBytes(StandardCharsets.ISO_8859_1));
        assertThat(read.bases()).containsExactly(139637976727552L, 139637976858624L);
        assertThat(read.numBlocks()).isEqualTo(300);
        assertThat(read.lengths()).containsExactly(65_536, 65_536);
        assertThat(read.strides()).containsExactly(65_536, 131_072);
        assertThat(read.layout()).isEqualTo("LBHNC");
        assertThat(read.blockTokens()).isEqualTo(128);
        assertThat(read.attentionBackend()).isEqualTo("CPU_ATTN");
        assertThat(read.blocksPerLogical()).isEqualTo(1);
        assertThat(read.memoryTypes()).containsExactly("DRAM", "DRAM");
        assertThat(read.baton()).isEmpty();
    }

    @Test
    void aBatonsMetadataComeBackAsTheyWere() throws ProtocolException {
        AgentMetadata written = new AgentMetadata(
                "b",
                new byte[] {1},
                new long[] {1L << 46},
                0,
                9,
                new long[] {64},
                new long[] {640},
                "LBHNC",
                32,
                "BATON",
                1,
                List.of("DRAM"),
                1,
                Optional.of(new AgentMetadata.BatonPool(
                        1L << 45, 4096, 7, new TreeMap<>(Map.of("rope", "1")), BlockSums.DEVICE)));
        assertThat(AgentMetadata.decode(written.encode()))
                .usingRecursiveComparison()
                .isEqualTo(written);
    }

    @Test
    void fieldsAreThoseOfVllmInItsOrder() throws ProtocolException {
        Fields outer = MsgPack.map("payload", HexFormat.of().parseHex(VLLM_PAYLOAD));
        Map<?, ?> theirs = (Map<?, ?>) MsgPack.read(outer.bytes("agent_metadata_bytes"));
        Map<?, ?> ours = (Map<?, ?>) MsgPack.read(ofVllm().encode());
        assertThat(List.copyOf(ours.keySet())).isEqualTo(List.copyOf(theirs.keySet()));
    }

    @Test
    void aMissingFieldIsNamed() {
        byte[] bytes = MsgPack.write(Map.of("kv_caches_base_addr", List.of(1L), "block_lens", List.of(1L)));
        assertThatThrownBy(() -> AgentMetadata.decode(bytes)).hasMessageContaining("engine_id");
    }

    @Test
    void mutatedMetadataAreReadOrRefused() throws ProtocolException {
        byte[] good = ofVllm().encode();
        Random random = new Random(3);
        int refused = 0;
        for (int i = 0; i < 20_000; i++) {
            byte[] bytes = Arrays.copyOf(good, random.nextInt(4) == 0 ? random.nextInt(good.length) : good.length);
            for (int j = random.nextInt(4); j > 0 && bytes.length > 0; j--) {
                bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
            }
            try {
                AgentMetadata.decode(bytes);
            } catch (ProtocolException e) {
                refused++;
            }
        }
        assertThat(refused).isBetween(5_000, 19_999);
    }
}
