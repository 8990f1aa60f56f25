package dev.baton.discovery;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.baton.http.Json;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// What engines send is read, and whatever else comes is refused in one sentence.
class MsgPackTest {
    private static byte[] hex(String digits) {
        return HexFormat.of().parseHex(digits.replace(" ", ""));
    }

    private static JsonNode json(String singleQuoted) {
        return Json.parse(singleQuoted.replace('\'', '"').getBytes(StandardCharsets.UTF_8));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                // LMCache's ProxyNotif as msgspec writes it
                "82 a474797065 aa50726f78794e6f746966 a67265715f6964 a131 | {'type':'ProxyNotif','req_id':'1'}",
                // vLLM's registration, with text of 32 bytes and more
                "82 a474797065 a144 ac687474705f61646472657373 ae31302e302e312e343a3230303035 | {'type':'D','http_address':'10.0.1.4:20005'}",
                "81 a161 d9 03 616263 | {'a':'abc'}",
                "81 a161 da 0003 616263 | {'a':'abc'}",
                "81 a161 db 00000003 616263 | {'a':'abc'}",
                "de 0001 a161 dc 0002 c3 c0 | {'a':[true,null]}",
                "df 00000001 a161 dd 00000001 c2 | {'a':[false]}",
                "81 a161 99 00 7f e0 ff cc80 d080 cdffff ceffffffff d3ffffffffffffffff | {'a':[0,127,-32,-1,128,-128,65535,4294967295,-1]}",
                "81 a161 93 d18000 d280000000 cf7fffffffffffffff | {'a':[-32768,-2147483648,9223372036854775807]}",
                "81 a161 92 ca3fc00000 cb3ff8000000000000 | {'a':[1.5,1.5]}",
                "80 | {}",
            })
    void mapsAreReadAsJson(String message, String expected) {
        assertThat(Json.text(MsgPack.map(hex(message)))).isEqualTo(Json.text(json(expected)));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "", // nothing
                "01", // no map
                "81", // ends early
                "81 a161", // a key without a value
                "81 a2 61", // text that ends early
                "81 a161 01 00", // something after it
                "81 01 01", // a number as a key
                "82 a161 01 a161 02", // a key twice
                "81 a161 c403 010203", // binary
                "81 a161 d401 00", // an extension
                "81 a161 c1", // never used
                "81 a1ff 01", // not UTF-8
                "81 a161 cfffffffffffffffff", // over 63 bits
                "81 a161 dd7fffffff", // two thousand million parts
                "81 a161 ddffffffff", // a count below zero
                "df7fffffff", // as a map
                "81 a161 dbffffffff", // text of a length below zero
            })
    void anythingElseIsRefused(String message) {
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> MsgPack.map(hex(message)))
                .withMessageStartingWith("a MessagePack message");
    }

    @Test
    void deepNestingIsRefused() {
        String deepest = "81 a161" + "91".repeat(MsgPack.MAX_NESTING - 1) + "01";
        assertThat(MsgPack.map(hex(deepest)).has("a")).isTrue();
        String deeper = "81 a161" + "91".repeat(MsgPack.MAX_NESTING) + "01";
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> MsgPack.map(hex(deeper)))
                .withMessageContaining("levels");
    }

    @Test
    void largeMessagesAreRefused() {
        ObjectNode map = JsonNodeFactory.instance.objectNode().put("a", "x".repeat(MsgPack.MAX_BYTES));
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> MsgPack.map(MsgPackBytes.of(map)))
                .withMessageContaining("at most");
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3})
    void whatIsWrittenIsRead(long seed) {
        Random random = new Random(seed);
        for (int i = 0; i < 500; i++) {
            ObjectNode map = randomMap(random, 0);
            assertThat(Json.text(MsgPack.map(MsgPackBytes.of(map)))).isEqualTo(Json.text(map));
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3})
    void damagedMessagesAreReadOrRefusedButNeverMore(long seed) {
        Random random = new Random(seed);
        int refused = 0;
        for (int i = 0; i < 20_000; i++) {
            byte[] message = MsgPackBytes.of(randomMap(random, 2));
            for (int j = random.nextInt(4); j >= 0; j--) {
                message[random.nextInt(message.length)] = (byte) random.nextInt();
            }
            try {
                MsgPack.map(message);
            } catch (DiscoveryException e) {
                refused++;
            }
        }
        assertThat(refused).isBetween(2_000, 20_000);
    }

    private static ObjectNode randomMap(Random random, int depth) {
        ObjectNode map = JsonNodeFactory.instance.objectNode();
        for (int i = random.nextInt(Math.max(2, 18 >> depth)); i > 0; i--) {
            map.set(randomText(random), randomValue(random, depth + 1));
        }
        return map;
    }

    private static JsonNode randomValue(Random random, int depth) {
        JsonNodeFactory nodes = JsonNodeFactory.instance;
        return switch (random.nextInt(depth > 4 ? 5 : 7)) {
            case 0 -> nodes.numberNode(random.nextLong() >> random.nextInt(64));
            case 1 -> nodes.booleanNode(random.nextBoolean());
            case 2 -> nodes.nullNode();
            case 3 -> nodes.numberNode(random.nextDouble());
            case 4 -> nodes.stringNode(randomText(random));
            case 5 -> randomMap(random, depth);
            default -> {
                ArrayNode array = nodes.arrayNode();
                for (int i = random.nextInt(Math.max(2, 18 >> depth)); i > 0; i--) {
                    array.add(randomValue(random, depth + 1));
                }
                yield array;
            }
        };
    }

    private static String randomText(Random random) {
        return "ä".repeat(random.nextInt(3))
                + Integer.toHexString(random.nextInt()).repeat(random.nextInt(60));
    }
}
