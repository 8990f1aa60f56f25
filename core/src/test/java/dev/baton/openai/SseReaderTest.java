package dev.baton.openai;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SseReaderTest {
    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static List<String> read(String text) {
        List<String> events = new ArrayList<>();
        new SseReader(events::add).feed(utf8(text));
        return events;
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4})
    void writtenEventsAreReadBackWhateverThePieces(long seed) {
        Random random = new Random(seed);
        ByteArrayOutputStream stream = new ByteArrayOutputStream();
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            String data = "{\"text\":\"é🎈" + "x".repeat(random.nextInt(2000)) + "\"}";
            expected.add(data);
            stream.writeBytes(SseWriter.event(utf8(data)));
        }
        stream.writeBytes(SseWriter.done());
        expected.add(SseReader.DONE);
        List<String> events = new ArrayList<>();
        SseReader reader = new SseReader(events::add);
        byte[] bytes = stream.toByteArray();
        for (int at = 0; at < bytes.length; ) {
            int length = Math.min(bytes.length - at, 1 + random.nextInt(700));
            reader.feed(Arrays.copyOfRange(bytes, at, at + length));
            at += length;
        }
        assertThat(events).isEqualTo(expected);
        assertThat(reader.isAtBoundary()).isTrue();
    }

    @ParameterizedTest
    @ValueSource(strings = {"data: a\n\ndata: b\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "data:a\r\rdata:b\r\r"})
    void allLineEndsAreUnderstood(String text) {
        assertThat(read(text)).containsExactly("a", "b");
    }

    @Test
    void commentsAndOtherFieldsAreSkippedAndDataLinesJoined() {
        assertThat(read(": ping\n\nevent: x\nid: 3\ndata: a\ndata\ndata:  b\nretry: 5\n\ndatas: no\n\n"))
                .containsExactly("a\n\n b");
    }

    @Test
    void unfinishedEventIsNotDelivered() {
        List<String> events = new ArrayList<>();
        SseReader reader = new SseReader(events::add);
        reader.feed(utf8("data: a\n\ndata: b\n"));
        assertThat(events).containsExactly("a");
        assertThat(reader.isAtBoundary()).isFalse();
    }

    @Test
    void eventWithoutEndIsRefusedAtTheLimit() {
        SseReader reader = new SseReader(data -> {}, 1000);
        assertThatThrownBy(() -> reader.feed(utf8("data: " + "x".repeat(2000))))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("1000");
    }
}
