package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.RemotePrefill;
import dev.baton.transfer.TransferException;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Who has the key is served, and nobody else.
@ExtendWith(KvThreads.class)
class SharedKeyTest {
    @TempDir
    Path directory;

    private Map<String, Object> key(String key) throws IOException {
        Map<String, Object> extra = new HashMap<>();
        if (!key.equals("none")) {
            Path file = directory.resolve(key);
            Files.writeString(file, key.repeat(32) + "\n");
            extra.put("kv_key_file", file.toString());
        }
        return extra;
    }

    @Test
    void instancesWithTheSameKeyExchangeBlocks() throws IOException {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, key("a")).fill(1);
                TestInstance decoder = TestInstance.decoder(16, 8, key("a"))) {
            for (int round = 0; round < 3; round++) {
                decoder.load("d" + round, prefiller.hold("r", new int[] {1}, 16), new int[] {round}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(decoder.block(round)).isEqualTo(prefiller.block(1));
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    @ParameterizedTest
    @CsvSource({
        "a, b, the shared key of prefiller-1 is another one",
        "a, none, decoder-1 has no shared key",
        "none, a, prefiller-1 has no shared key",
    })
    void instancesWithoutTheSameKeyDoNot(String prefillers, String decoders, String sentence) throws IOException {
        try (TestInstance prefiller =
                        TestInstance.prefiller(16, 8, key(prefillers)).fill(1);
                TestInstance decoder =
                        TestInstance.decoder(16, 8, key(decoders)).fill(2)) {
            byte[] before = decoder.block(0);
            decoder.load("d", prefiller.hold("r", new int[] {1}, 16), new int[] {0}, 0);
            assertThat(decoder.nextFailure("d")).contains(sentence, "kv_key_file");
            assertThat(decoder.block(0)).isEqualTo(before);
            assertThat(prefiller.connector.stats().bytesSent()).isZero();
            assertThat(prefiller.events).isEmpty(); // nor could it be released
            prefiller.worker().dropLease("r");
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        }
    }

    /// Passes everything on, and keeps what each side said.
    private static final class Recorder implements AutoCloseable {
        final ServerSocket listener = new ServerSocket(0, 4, InetAddress.getLoopbackAddress());
        final ByteArrayOutputStream fromDecoder = new ByteArrayOutputStream();
        final ByteArrayOutputStream fromPrefiller = new ByteArrayOutputStream();

        Recorder(int target) throws IOException {
            Thread.ofVirtual().start(() -> {
                try {
                    while (true) {
                        Socket decoder = listener.accept();
                        Socket prefiller = new Socket(InetAddress.getLoopbackAddress(), target);
                        Thread.ofVirtual().start(() -> pass(decoder, prefiller, fromDecoder));
                        Thread.ofVirtual().start(() -> pass(prefiller, decoder, fromPrefiller));
                    }
                } catch (IOException e) {
                    // closed
                }
            });
        }

        private static void pass(Socket from, Socket to, ByteArrayOutputStream copy) {
            byte[] buffer = new byte[8192];
            try (from;
                    to) {
                InputStream in = from.getInputStream();
                for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                    synchronized (copy) {
                        copy.write(buffer, 0, n);
                    }
                    to.getOutputStream().write(buffer, 0, n);
                }
            } catch (IOException e) {
                // one side went away: the other one follows
            }
        }

        @Override
        public void close() throws IOException {
            listener.close();
        }
    }

    private static RemotePrefill at(RemotePrefill source, int port) {
        return new RemotePrefill(
                source.engineId(),
                source.requestId(),
                source.blockIds(),
                source.host(),
                port,
                source.tpSize(),
                source.numTokens());
    }

    /// The types of the frames that come until the connection ends.
    private static String frames(InputStream stream) {
        StringBuilder types = new StringBuilder();
        try {
            DataInputStream in = new DataInputStream(stream);
            while (true) {
                byte[] header = in.readNBytes(Limits.FRAME_HEADER_BYTES);
                if (header.length < Limits.FRAME_HEADER_BYTES) {
                    return types.toString();
                }
                ByteBuffer view = ByteBuffer.wrap(header).order(ByteOrder.LITTLE_ENDIAN);
                byte[] body = in.readNBytes(view.getInt(0));
                types.append(FrameType.of(view.getInt(4)).orElseThrow());
                if (view.getInt(4) == FrameType.ERROR.code()) {
                    types.append('(')
                            .append(new String(body, 4, body.length - 4, StandardCharsets.UTF_8))
                            .append(')');
                }
                types.append(' ');
            }
        } catch (IOException e) {
            return types.toString();
        }
    }

    @Test
    void whatADecoderSaidBeforeServesNobodyElse() throws Exception {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, key("a")).fill(1);
                TestInstance decoder = TestInstance.decoder(16, 8, key("a"))) {
            RemotePrefill held = prefiller.hold("r", new int[] {1}, 16);
            try (Recorder recorder = new Recorder(held.port())) {
                decoder.load("d", at(held, recorder.listener.getLocalPort()), new int[] {0}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
                byte[] said;
                synchronized (recorder.fromDecoder) {
                    said = recorder.fromDecoder.toByteArray();
                }
                long sent = prefiller.connector.stats().bytesSent();
                RemotePrefill next = prefiller.hold("next", new int[] {2}, 16);
                try (Socket thief = new Socket(InetAddress.getLoopbackAddress(), next.port())) {
                    thief.setSoTimeout(10_000);
                    OutputStream out = thief.getOutputStream();
                    out.write(said);
                    assertThat(frames(thief.getInputStream())).doesNotContain("BLOCK", "OK");
                }
                assertThat(prefiller.connector.stats().bytesSent()).isEqualTo(sent);
                assertThat(prefiller.worker().numLeases()).isEqualTo(1);
                prefiller.worker().dropLease("next");
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("next"));
            }
        }
    }

    @Test
    void whatAPrefillerSaidBeforeConvincesNoDecoder() throws Exception {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, key("a")).fill(1);
                TestInstance decoder = TestInstance.decoder(16, 8, key("a")).fill(2);
                ServerSocket impostor = new ServerSocket(0, 4, InetAddress.getLoopbackAddress())) {
            RemotePrefill held = prefiller.hold("r", new int[] {1}, 16);
            byte[] said;
            try (Recorder recorder = new Recorder(held.port())) {
                decoder.load("d", at(held, recorder.listener.getLocalPort()), new int[] {0}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
                synchronized (recorder.fromPrefiller) {
                    said = recorder.fromPrefiller.toByteArray();
                }
            }
            Thread.ofVirtual().start(() -> {
                try {
                    while (true) {
                        Socket victim = impostor.accept();
                        Thread.ofVirtual().start(() -> {
                            try (victim) {
                                victim.getOutputStream().write(said);
                                victim.getInputStream().transferTo(OutputStream.nullOutputStream());
                            } catch (IOException e) {
                                // it went away
                            }
                        });
                    }
                } catch (IOException e) {
                    // closed
                }
            });
            byte[] before = decoder.block(3);
            decoder.load("d2", at(held, impostor.getLocalPort()), new int[] {3}, 0);
            assertThat(decoder.nextFailure("d2")).contains("the shared key of prefiller-1 is another one");
            assertThat(decoder.block(3)).isEqualTo(before);
        }
    }

    @Test
    void listeningBeyondThisMachineNeedsAKeyOrAWord() throws IOException {
        for (Map<String, Object> extra : List.of(key("a"), Map.<String, Object>of("kv_trusted_network", true))) {
            try (TestInstance open = open(KvRole.KV_PRODUCER, extra)) {
                assertThat(open.connector.describe()).contains("0.0.0.0");
            }
        }
        try (TestInstance dials = open(KvRole.KV_CONSUMER, Map.of())) {
            assertThat(dials.connector.describe()).contains("dials only");
        }
        assertThatThrownBy(() -> open(KvRole.KV_BOTH, Map.of()))
                .isInstanceOf(TransferException.class)
                .hasMessageContainingAll("TcpConnector would listen on 0.0.0.0", "kv_key_file", "kv_trusted_network");
    }

    private static TestInstance open(KvRole role, Map<String, Object> extra) {
        return new TestInstance(
                new KvTransferConfig(TcpConnector.NAME, role, "e", "0.0.0.0", 0, KvLoadFailurePolicy.RECOMPUTE, extra),
                new dev.baton.kvcache.KvCacheSpec("m", "float32", 4, 2, 2, 16, 16, 4),
                Map.of(),
                1,
                1);
    }

    @Test
    void aKeyThatCannotBeReadOrIsShortIsNamed() throws IOException {
        Path file = directory.resolve("short");
        Files.writeString(file, "secret\n");
        for (Path wrong : List.of(file, directory.resolve("missing"), directory)) {
            assertThatThrownBy(() -> TcpOptions.from(Map.of("kv_key_file", wrong.toString())))
                    .isInstanceOf(TransferException.class)
                    .hasMessageContainingAll("kv_key_file", wrong.toString())
                    .satisfies(e -> assertThat(e.getMessage()).doesNotContain("secret"));
        }
    }
}
