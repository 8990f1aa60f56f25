package dev.baton.wire;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.management.ManagementFactory;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MsgPackTest {
    /// What msgspec.msgpack.encode made of [#values()], by vLLM's Python.
    private static final String MSGSPEC = "dc001fc0c3c2007fcc80ccffcd0100cdffffce00010000ceffffffffcf0000000100000000"
            + "cf4000000000000000ffe0d0dfd080d1ff7fd18000d2ffff7fffd280000000d3ffffffff7fffffffcb3ff8000000000000a0bf"
            + "61".repeat(31) + "d920" + "61".repeat(32) + "c400c4ff" + "78".repeat(255) + "9f" + "01".repeat(15)
            + "dc0010" + "01".repeat(16) + "81a16101";

    private static List<Object> values() {
        byte[] long8 = new byte[255];
        Arrays.fill(long8, (byte) 'x');
        return List.of(
                MsgPack.Nil.NIL,
                true,
                false,
                0L,
                127L,
                128L,
                255L,
                256L,
                65_535L,
                65_536L,
                (1L << 32) - 1,
                1L << 32,
                1L << 62,
                -1L,
                -32L,
                -33L,
                -128L,
                -129L,
                -32_768L,
                -32_769L,
                -(1L << 31),
                -(1L << 31) - 1,
                1.5,
                "",
                "a".repeat(31),
                "a".repeat(32),
                new byte[0],
                long8,
                Collections.nCopies(15, 1L),
                Collections.nCopies(16, 1L),
                Map.of("a", 1L));
    }

    @Test
    void bytesAreThoseOfMsgspec() {
        assertThat(HexFormat.of().formatHex(MsgPack.write(values()))).isEqualTo(MSGSPEC);
    }

    @Test
    void whatMsgspecWroteIsReadBack() throws ProtocolException {
        Object read = MsgPack.read(HexFormat.of().parseHex(MSGSPEC));
        assertThat(read).usingRecursiveComparison().isEqualTo(values());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "", // nothing
                "0100", // two values
                "c1", // no type
                "d40000", // an extension
                "cfffffffffffffffff", // 64 bits
                "81c00100", // a key that is no text
                "82a16101a16102", // a key twice
                "a2c328", // no UTF-8
                "ddffffffff", // four thousand million parts
                "c6ffffffff", // as many bytes
                "dc0010" // fewer parts than it says
            })
    void whatIsNotReadHereIsRefused(String hex) {
        assertThatThrownBy(() -> MsgPack.read(HexFormat.of().parseHex(hex))).isInstanceOf(ProtocolException.class);
    }

    @Test
    void nestingIsBounded() {
        byte[] deep = new byte[10_000];
        Arrays.fill(deep, (byte) 0x91);
        assertThatThrownBy(() -> MsgPack.read(deep)).hasMessageContaining("16 levels");
    }

    @Test
    void numberOfValuesIsBounded() {
        byte[] many = new byte[5 + MsgPack.MAX_VALUES];
        ByteBuffer.wrap(many).put((byte) 0xdd).putInt(MsgPack.MAX_VALUES);
        assertThatThrownBy(() -> MsgPack.read(many)).hasMessageContaining("values");
    }

    /// Each list says that it has as many parts as there are bytes: memory for them would be 64 times the
    /// message's.
    @Test
    void countsTakeNoMemoryBeforeTheirParts() {
        byte[] nested = new byte[4 << 20];
        ByteBuffer out = ByteBuffer.wrap(nested);
        for (int i = 0; i < MsgPack.MAX_NESTING; i++) {
            out.put((byte) 0xdd).putInt(nested.length - 5 * (i + 1));
        }
        out.put((byte) 0xc1);
        com.sun.management.ThreadMXBean threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
        long before = threads.getCurrentThreadAllocatedBytes();
        assertThatThrownBy(() -> MsgPack.read(nested)).isInstanceOf(ProtocolException.class);
        assertThat(threads.getCurrentThreadAllocatedBytes() - before).isLessThan(1 << 20);
    }

    @ParameterizedTest
    @ValueSource(strings = {"01", "90", "c0", "a161"})
    void whatIsNoMapIsRefusedByName(String hex) {
        assertThatThrownBy(() -> MsgPack.map("an answer", HexFormat.of().parseHex(hex)))
                .isInstanceOf(ProtocolException.class)
                .hasMessage("an answer is no map");
    }

    @Test
    void fieldsOfAnotherKindAreRefusedByName() throws ProtocolException {
        Fields fields = MsgPack.map(
                "it",
                MsgPack.write(Map.of(
                        "text",
                        "x",
                        "number",
                        7,
                        "list",
                        List.of(1, -1),
                        "nil",
                        MsgPack.Nil.NIL,
                        "map",
                        Map.of("a", 1))));
        assertThat(fields.has("nil")).isFalse();
        assertThat(fields.textOr("nil", "other")).isEqualTo("other");
        assertThat(fields.number("number", 0, 7)).isEqualTo(7);
        assertThat(fields.doubleOr("number", 1)).isEqualTo(7);
        assertThat(fields.truthOr("absent", true)).isTrue();
        assertThat(fields.numbers("absent")).isEmpty();
        for (ThrowingCallable wrong : List.<ThrowingCallable>of(
                () -> fields.text("number"),
                () -> fields.text("absent"),
                () -> fields.bytes("text"),
                () -> fields.number("number", 0, 6),
                () -> fields.numbers("list"),
                () -> fields.texts("list"),
                () -> fields.map("list"),
                () -> fields.textMap("map"),
                () -> fields.truthOr("text", true),
                () -> fields.doubleOr("text", 1))) {
            assertThatThrownBy(wrong).isInstanceOf(ProtocolException.class).hasMessageStartingWith("it");
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3})
    void randomAndMutatedBytesEitherReadOrAreRefused(long seed) {
        Random random = new Random(seed);
        byte[] good = MsgPack.write(List.of("get_meta_msg".getBytes(StandardCharsets.UTF_8), 0, 0, values()));
        int refused = 0;
        for (int i = 0; i < 20_000; i++) {
            byte[] bytes;
            if (i % 2 == 0) {
                bytes = new byte[random.nextInt(64)];
                random.nextBytes(bytes);
            } else {
                bytes = Arrays.copyOf(good, 1 + random.nextInt(good.length));
                bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
            }
            try {
                MsgPack.read(bytes);
            } catch (ProtocolException e) {
                refused++;
            }
        }
        assertThat(refused).isBetween(1_000, 19_999);
    }

    @Test
    void whatIsWrittenIsRead() throws ProtocolException {
        Random random = new Random(5);
        for (int i = 0; i < 500; i++) {
            Object value = any(random, 0);
            assertThat(MsgPack.read(MsgPack.write(value)))
                    .usingRecursiveComparison()
                    .isEqualTo(value);
        }
    }

    private static Object any(Random random, int depth) {
        return switch (random.nextInt(depth < 4 ? 7 : 5)) {
            case 0 -> random.nextLong() >> random.nextInt(63);
            case 1 -> random.nextDouble();
            case 2 -> "é".repeat(random.nextInt(40));
            case 3 -> random.nextBoolean();
            case 4 -> new byte[random.nextInt(300)];
            case 5 -> {
                List<Object> list = new ArrayList<>();
                for (int i = random.nextInt(20); i > 0; i--) {
                    list.add(any(random, depth + 1));
                }
                yield list;
            }
            default -> Map.of("key", any(random, depth + 1));
        };
    }
}
