package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SseFramesTest {
    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    @Test
    void wholeEventsPassWithoutACopy() {
        byte[] piece = bytes("data: 1\n\ndata: 2\n\n");
        assertThat(new SseFrames(100).accept(piece)).isSameAs(piece);
    }

    @Test
    void unfinishedTailWaits() {
        SseFrames frames = new SseFrames(100);
        assertThat(text(frames.accept(bytes("data: 1\n\ndata: 2\n")))).isEqualTo("data: 1\n\n");
        assertThat(text(frames.accept(bytes("\n")))).isEqualTo("data: 2\n\n");
        assertThat(frames.accept(bytes("data: 3"))).isEmpty();
        assertThat(frames.finish()).as("half an event is nobody's").isEmpty();
    }

    @Test
    void errorPassesAloneWhateverFollowsIt() {
        SseFrames frames = new SseFrames(100);
        assertThat(text(frames.accept(bytes("data: 1\n\ndata: {\"error\":{}}\n\ndata: [DONE]\n\n"))))
                .isEqualTo("data: 1\n\n");
        assertThat(text(frames.failure())).isEqualTo("data: {\"error\":{}}\n\n");
    }

    @ParameterizedTest
    @ValueSource(strings = {"data: {\"error\":{\"code\":500}}", "data: {\"error\":{\"code\":500}}\n"})
    void errorWithoutItsBlankLineCountsAtAnOrderlyEnd(String tail) {
        SseFrames frames = new SseFrames(100);
        frames.accept(bytes(tail));
        assertThat(frames.finish()).isEmpty();
        assertThat(text(frames.failure())).isEqualTo(tail.strip() + "\n\n");
    }

    @Test
    void halfAnErrorIsNone() {
        SseFrames frames = new SseFrames(100);
        frames.accept(bytes("data: {\"error\":{\"code\":5"));
        assertThat(frames.finish()).isEmpty();
        assertThat(frames.failed()).isFalse();
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5})
    void anyCutGivesTheSameBytesAndOnlyWholeEvents(long seed) {
        Random random = new Random(seed);
        for (int round = 0; round < 300; round++) {
            String newline = random.nextBoolean() ? "\n" : "\r\n";
            StringBuilder stream = new StringBuilder();
            for (int i = random.nextInt(6); i >= 0; i--) {
                stream.append("data: ")
                        .append("é".repeat(random.nextInt(9)))
                        .append(newline)
                        .append(newline);
            }
            stream.append("data: [DONE]").append(newline).append(newline);
            byte[] all = bytes(stream.toString());
            SseFrames frames = new SseFrames(1000);
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            for (int at = 0; at < all.length; ) {
                int end = Math.min(all.length, at + 1 + random.nextInt(12));
                byte[] ready = frames.accept(Arrays.copyOfRange(all, at, end));
                assertThat(ready.length == 0 || text(ready).endsWith(newline + newline))
                        .isTrue();
                out.writeBytes(ready);
                assertThat(frames.done()).isEqualTo(end == all.length);
                at = end;
            }
            assertThat(out.toByteArray()).isEqualTo(all);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "data: {\"text\":\"data: [DONE]\"}\n\n",
                "data: x[DONE]\n\n",
                ": [DONE]\n\n",
                "event: [DONE]\n\n",
                "[DONE]\n\n"
            })
    void onlyTheEventItselfIsTheEnd(String piece) {
        SseFrames frames = new SseFrames(100);
        frames.accept(bytes(piece));
        assertThat(frames.done()).isFalse();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "data: {\"error\":{\"code\":500}}\n\n",
                "data:{ \"error\" : \"text\"}\r\n\r\n",
                "data: 1\n\ndata: {\"error\":{}}\n\ndata: [DONE]\n\n"
            })
    void errorEventIsSeenInAnyCut(String stream) {
        for (int cut = 0; cut < stream.length(); cut++) {
            SseFrames frames = new SseFrames(100);
            frames.accept(bytes(stream.substring(0, cut)));
            frames.accept(bytes(stream.substring(cut)));
            assertThat(frames.failed()).as("cut at %s", cut).isTrue();
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "data: {\"text\":\"data: {\\\"error\\\":{}}\"}\n\n",
                "data: {\"error\":null,\"choices\":[]}\n\n",
                "data: {\"errors\":{}}\n\n",
                ": {\"error\":{}}\n\n",
                "data: {\"error\":",
                "data: {\"error\"\n\n",
                "data: {\n\n"
            })
    void onlyAnErrorEventIsAFailure(String stream) {
        SseFrames frames = new SseFrames(100);
        frames.accept(bytes(stream));
        frames.finish();
        assertThat(frames.failed()).isFalse();
    }

    @Test
    void endWithoutItsBlankLineCountsAtAnOrderlyEnd() {
        SseFrames frames = new SseFrames(100);
        frames.accept(bytes("data: 1\n\ndata:[DONE]\n"));
        assertThat(frames.done()).isFalse();
        frames.finish();
        assertThat(frames.done()).isTrue();
    }

    @Test
    void eventOverTheLimitPassesInPieces() {
        SseFrames frames = new SseFrames(10);
        assertThat(frames.accept(bytes("data: 1234"))).isEmpty();
        assertThat(text(frames.accept(bytes("5")))).isEqualTo("data: 12345");
        assertThat(frames.cut()).isTrue();
        assertThat(text(frames.accept(bytes("6\n\n")))).isEqualTo("6\n\n");
        assertThat(frames.cut()).isTrue();
        assertThat(text(frames.accept(bytes("data: 7\n\n")))).isEqualTo("data: 7\n\n");
        assertThat(frames.cut()).isFalse();
    }

    @Test
    void middleOfAnEventIsNotReadAsOne() {
        SseFrames frames = new SseFrames(10);
        frames.accept(bytes("data: {\"text\":\""));
        assertThat(text(frames.accept(bytes("data: [DONE]\n\n")))).isEqualTo("data: [DONE]\n\n");
        assertThat(frames.done()).isFalse();
    }
}
