package dev.baton.transfer.mooncakestore;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class VllmNamesTest {
    private static final String RANK = "@tp_rank:0@pcp0@dcp0@pp_rank:0@group:0@";

    /// Token i is `14 i^2 + ...`: the numbers of all lengths that CBOR has for them.
    private static int[] tokens(int count) {
        int[] tokens = new int[count];
        for (long i = 0; i < count; i++) {
            tokens[(int) i] = (int) ((7 * i * i + 13 * i * i * i + i) % 200_000);
        }
        return tokens;
    }

    /// Written by vLLM 0.32 itself: `RankLocalStoreLayout.key_for` of `hash_block_tokens(sha256_cbor, ...)`, after
    /// `init_none_hash` with `PYTHONHASHSEED` as in the first column.
    @ParameterizedTest
    @CsvSource(
            nullValues = "none",
            value = {
                "none, '', Llama-3.1-8B, 16, 40, 2,"
                        + " 5847c7577fcf93647f5d5bc1f4c169f5587aab1d982a57639d266c7de8510a9b,"
                        + " 3c8d08c409f3b8a48ca06a58bc92ad6b4000409749af8360c600d0fb72c8b817",
                "0, '', m, 4, 17, 4, b0d179e05ddb12e8ff2c9afcca6122bb429c34a23a48584209727988f7fcb56a,"
                        + " 78360722d62566265c2e2092f316f7c0c73689e241226583d1b323621e7a84ec",
                "42, team, x, 128, 300, 2, f59dd36bb659cb284bb5c2908676e60c111f77e45504da8fe3783d714e74d2ba,"
                        + " 1038624f7e3c3250d6a25f92707549a33304d5125b35517e07ca27fd0d3be70a",
                "random-text, '', m, 3, 9, 3, bca8ee82902937b5ae6d8a6f9dbfc4e6fce79428b771bf874e66b6ac131b2dde,"
                        + " c1b9114cf925eab5efaac6179c0b01f1a580a93d14097d0a80fec8cfd4b7a851",
                "'', '', m, 1, 3, 3, 7cb27bdd607d07e4e3ea38756117f700271b8e76cc1e54883713ff73f4235123,"
                        + " 9ede84613e6b7120b7c1a1d80c1084a510780d4bdca8a7f15ce41a300a542294",
            })
    void keysAreThoseThatVllmWrites(
            String seed,
            String prefix,
            String model,
            int blockTokens,
            int count,
            int blocks,
            String first,
            String last) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("master_server_address", "h:1");
        settings.put("cache_prefix", prefix);
        settings.put("vllm_kv_layout", "cpu");
        MooncakeStoreOptions options = MooncakeStoreOptions.from(
                settings, "/models/" + model, seed == null ? Map.of() : Map.of("PYTHONHASHSEED", seed));
        List<String> names = new VllmNames(
                MooncakeStoreConnector.prefix(options, 1),
                VllmNames.root(options.hashSeed()),
                tokens(count),
                count,
                blockTokens);
        String before = (prefix.isEmpty() ? "" : prefix + "@") + model + RANK;
        assertThat(names).hasSize(blocks);
        assertThat(names.getLast()).isEqualTo(before + last);
        assertThat(names.getFirst()).isEqualTo(before + first);
    }

    @Test
    void keysOfBatonsOwnValuesAreNotVllmsAndNameTheModel() {
        MooncakeStoreOptions options = MooncakeStoreOptions.from(Map.of("master_server_address", "h:1"), "m", Map.of());
        assertThat(MooncakeStoreConnector.prefix(options, 0xabcL))
                .isEqualTo("m@store_format:baton_0000000000000abc@tp_rank:0@pcp0@dcp0@pp_rank:0@group:0");
    }

    @Test
    void onlyFullBlocksHaveNames() {
        List<String> names = new VllmNames("m", VllmNames.root("0"), tokens(20), 11, 4);
        assertThat(names).hasSize(2);
        assertThat(names.subList(1, 2)).containsExactly(names.get(1));
        assertThatThrownBy(() -> names.get(2)).isInstanceOf(IndexOutOfBoundsException.class);
        assertThat(new VllmNames("m", VllmNames.root("0"), tokens(3), 3, 4)).isEmpty();
    }
}
