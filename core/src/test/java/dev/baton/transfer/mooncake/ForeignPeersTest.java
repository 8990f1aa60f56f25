package dev.baton.transfer.mooncake;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.mooncake.BootstrapServer.Registration;
import dev.baton.transfer.mooncake.XferMetadata.Region;
import dev.baton.transfer.mooncake.XferMetadata.Want;
import dev.baton.transfer.tcp.KvThreads;
import dev.baton.wire.Wire;
import dev.baton.wire.Zmtp;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Peers that are not Baton, as vLLM's messages make them, and prefillers that say what is not so.
@ExtendWith(KvThreads.class)
class ForeignPeersTest {
    private static final String ENGINE = "foreign-1";
    private static final Duration PATIENCE = Duration.ofSeconds(10);

    /// Something that listens where a prefiller's worker would, and its bootstrap server.
    private static final class ForeignPrefiller implements AutoCloseable {
        private final ServerSocketChannel listener = ServerSocketChannel.open();
        private final BootstrapServer bootstrap = new BootstrapServer("127.0.0.1", 0);
        private Wire wire = Wire.unconnected();
        private Zmtp channel = new Zmtp(wire, Zmtp.SocketType.ROUTER, XferMetadata.MAX_BYTES);

        /// @param layout what it says of its blocks
        ForeignPrefiller(String layout) throws IOException {
            listener.bind(new InetSocketAddress("127.0.0.1", 0));
            String address = "tcp://127.0.0.1:" + listener.socket().getLocalPort();
            bootstrap.register(new Registration(ENGINE, 0, 0, 0, address, layout));
        }

        KvRequest request(int numTokens) {
            return MooncakeInstance.decode("d", "x", numTokens, ENGINE, "http://127.0.0.1:" + bootstrap.port());
        }

        XferMetadata question() throws IOException {
            wire.close();
            wire = Wire.over(listener.accept());
            channel = new Zmtp(wire, Zmtp.SocketType.ROUTER, XferMetadata.MAX_BYTES);
            channel.greet(PATIENCE);
            return XferMetadata.read(Zmtp.single(channel.receive(PATIENCE)));
        }

        void answer(byte[] message) throws IOException {
            channel.send(message);
        }

        @Override
        public void close() throws IOException {
            bootstrap.close();
            wire.close();
            listener.close();
        }
    }

    private static TeConnection connect(XferMetadata question) throws IOException {
        TeConnection connection = new TeConnection(PATIENCE);
        connection.open(
                TeHandshake.ask(question.host(), question.port(), PATIENCE, PATIENCE), question.host(), PATIENCE);
        return connection;
    }

    @ParameterizedTest
    @EnumSource
    void blocksOfVllmAreConverted(VllmLayout layout) throws IOException {
        try (ForeignPrefiller vllm = new ForeignPrefiller("");
                MooncakeInstance theirs =
                        MooncakeInstance.prefiller(16, 8, Map.of()).fill(1); // for its pool
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of("vllm_kv_layout", layout.name()))
                        .fill(2);
                Arena arena = Arena.ofConfined()) {
            decoder.load(vllm.request(47), new int[] {7, 0, 3}, 16);
            XferMetadata question = vllm.question();
            assertThat(question.baton()).isEmpty();
            Want want = question.wants().get("d");
            assertThat(want.transferId()).isEqualTo("x");
            assertThat(want.blocks()).hasSize(2);
            assertThat(question.regions())
                    .extracting(Region::layerName)
                    .containsExactly(
                            "model.layers.0.self_attn.attn",
                            "model.layers.1.self_attn.attn",
                            "model.layers.2.self_attn.attn");
            try (TeConnection connection = connect(question)) {
                MemorySegment image = arena.allocate(VllmLayout.imageBytes(theirs.pool));
                for (Region region : question.regions()) {
                    for (int i = 0; i < 2; i++) {
                        layout.toImage(theirs.pool, 4 + i, region.layer(), image);
                        connection.write(
                                region.address() + want.blocks()[i] * region.strideBytes(),
                                new ByteBuffer[] {image.asByteBuffer()},
                                image.byteSize());
                    }
                }
                connection.awaitWritten();
            }
            vllm.answer(XferResponse.ok(XferResponse.Status.FINISH, "d", Optional.empty())
                    .bytes());
            assertThat(decoder.nextEvent()).isEqualTo(new KvArrived("d", 31, 2 * decoder.pool.blockBytes()));
            assertThat(decoder.block(0)).isEqualTo(theirs.block(4));
            assertThat(decoder.block(3)).isEqualTo(theirs.block(5));
        }
    }

    @Test
    void vllmWhoseLayoutNobodySaidIsNotAsked() throws IOException {
        try (ForeignPrefiller vllm = new ForeignPrefiller("");
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            decoder.load(vllm.request(16), new int[] {0}, 0);
            assertThat(decoder.nextFailure("d")).contains("vllm_kv_layout");
        }
    }

    @Test
    void blocksThatWouldNeedTooMuchMemoryAreNotAskedFor() throws IOException {
        try (ForeignPrefiller vllm = new ForeignPrefiller("");
                MooncakeInstance decoder =
                        MooncakeInstance.decoder(16, 8, Map.of("vllm_kv_layout", "cpu", "max_staging_bytes", 20_000))) {
            decoder.load(vllm.request(32), new int[] {0, 1}, 0);
            assertThat(decoder.nextFailure("d")).contains("max_staging_bytes");
        }
    }

    @SuppressWarnings("try") // a peer that closes is one of the cases
    @ParameterizedTest
    @ValueSource(strings = {"nothing", "zeros", "half", "no checksums", "wrong name", "garbage", "silence"})
    void prefillerThatSaysWhatIsNotSoIsNotBelieved(String lie) throws IOException {
        try (ForeignPrefiller liar = new ForeignPrefiller(MooncakeConnector.LAYOUT);
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of("abort_request_timeout", 60))
                        .fill(2);
                Arena arena = Arena.ofConfined()) {
            decoder.load(liar.request(32), new int[] {5, 6}, 0);
            XferMetadata question = liar.question();
            long blockBytes = decoder.pool.blockBytes();
            MemorySegment zeros = arena.allocate(2 * blockBytes);
            long[] wrongSums = {1, 2};
            if (!lie.equals("nothing")) {
                try (TeConnection connection = connect(question)) {
                    Region region = question.regions().getFirst();
                    long address = region.address() + question.wants().get("d").blocks()[0] * region.strideBytes();
                    long bytes = lie.equals("half") ? blockBytes : 2 * blockBytes;
                    connection.write(
                            address, new ByteBuffer[] {zeros.asSlice(0, bytes).asByteBuffer()}, bytes);
                    connection.awaitWritten();
                }
            }
            String name = lie.equals("wrong name") ? "e" : "d";
            Optional<long[]> sums = lie.equals("no checksums") ? Optional.empty() : Optional.of(wrongSums);
            if (lie.equals("silence")) {
                liar.close();
            } else {
                liar.answer(
                        lie.equals("garbage")
                                ? new byte[] {1, 2, 3}
                                : XferResponse.ok(XferResponse.Status.FINISH, name, sums)
                                        .bytes());
            }
            String needed = switch (lie) {
                case "nothing", "half" -> "not all of them arrived";
                case "zeros" -> "wrong checksum";
                case "no checksums" -> "0 checksums of 2 blocks";
                case "wrong name" -> "does not name the request";
                case "silence" -> "has ended";
                default -> "MessagePack";
            };
            assertThat(decoder.nextFailure("d")).contains(needed);
        }
    }

    @SuppressWarnings("try") // the peer has gone when the block begins
    @Test
    void prefillerThatIsNotThereAnyMoreIsNamed() throws IOException {
        try (ForeignPrefiller dead = new ForeignPrefiller(MooncakeConnector.LAYOUT);
                MooncakeInstance decoder = MooncakeInstance.decoder(16, 8, Map.of())) {
            KvRequest request = dead.request(32);
            dead.close();
            decoder.load(request, new int[] {5, 6}, 0);
            String bootstrap = (String) request.params().fields().get("remote_bootstrap_addr");
            assertThat(decoder.nextFailure("d"))
                    .contains("the connection to the prefiller of " + bootstrap.replace("http://", "") + " has ended");
        }
    }

    @ParameterizedTest
    @EnumSource
    void vllmGetsBlocksAsItHasThem(VllmLayout layout) throws Exception {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of("vllm_kv_layout", layout.name()))
                        .fill(1);
                Arena arena = Arena.ofShared()) {
            long imageBytes = VllmLayout.imageBytes(prefiller.pool);
            int blocks = 6; // in the decoder's memory, of which it wants three
            long[] wanted = {4, 5, 1};
            MemorySegment memory = arena.allocate(MooncakeInstance.LAYERS * blocks * imageBytes, 64);
            MooncakeOptions options = MooncakeOptions.from(Map.of(), Map.of());
            try (TeServer server = new TeServer("127.0.0.1", new RegisteredMemory(memory), options)) {
                List<Region> regions = new ArrayList<>();
                for (int layer = 0; layer < MooncakeInstance.LAYERS; layer++) {
                    long address = memory.address() + layer * blocks * imageBytes;
                    regions.addFirst(new Region(address, imageBytes, imageBytes, "layers." + layer, layer));
                }
                XferMetadata question = new XferMetadata(
                        "127.0.0.1",
                        server.port(),
                        Map.of("d", new Want("x", wanted), "gone", new Want("y", new long[0])),
                        regions,
                        1,
                        1,
                        Optional.empty());
                prefiller.hold("p", "x", new int[] {3, 7, 0, 2}, 60);
                prefiller.hold("q", "y", new int[] {6}, 16);
                XferResponse first;
                XferResponse last;
                try (Asking asking = new Asking(prefiller)) {
                    asking.ask(question.bytes());
                    first = asking.answer();
                    last = asking.answer();
                }
                assertThat(first.status()).isEqualTo(XferResponse.Status.CONTINUE);
                assertThat(last.status()).isEqualTo(XferResponse.Status.FINISH);
                assertThat(List.of(first.ok().getFirst(), last.ok().getFirst())).containsExactlyInAnyOrder("d", "gone");
            }
            assertThat(List.of(prefiller.nextEvent(), prefiller.nextEvent()))
                    .containsExactlyInAnyOrder(new LeaseReleased("p"), new LeaseReleased("q"));
            int[] sources = {7, 0, 2}; // the last three that are held
            MemorySegment image = arena.allocate(imageBytes);
            for (int layer = 0; layer < MooncakeInstance.LAYERS; layer++) {
                for (int i = 0; i < sources.length; i++) {
                    layout.toImage(prefiller.pool, sources[i], layer, image);
                    long offset = (layer * blocks + wanted[i]) * imageBytes;
                    assertThat(memory.asSlice(offset, imageBytes).mismatch(image))
                            .isEqualTo(-1);
                }
                for (int untouched : new int[] {0, 2, 3}) {
                    long offset = (layer * blocks + untouched) * imageBytes;
                    assertThat(memory.asSlice(offset, imageBytes).mismatch(arena.allocate(imageBytes)))
                            .isEqualTo(-1);
                }
            }
        }
    }

    @Test
    void vllmThatWantsMoreBlocksThanThereAreIsRefused() throws IOException {
        try (MooncakeInstance prefiller = MooncakeInstance.prefiller(16, 8, Map.of("vllm_kv_layout", "cpu"));
                Asking asking = new Asking(prefiller)) {
            prefiller.hold("p", "x", new int[] {3}, 16);
            long imageBytes = VllmLayout.imageBytes(prefiller.pool);
            List<Region> regions = new ArrayList<>();
            for (int layer = 0; layer < MooncakeInstance.LAYERS; layer++) {
                regions.add(new Region(4096, imageBytes, imageBytes, "layers." + layer, layer));
            }
            Map<String, Want> wants = Map.of("d", new Want("x", new long[] {0, 1}));
            asking.ask(new XferMetadata("127.0.0.1", 1, wants, regions.subList(0, 2), 1, 1, Optional.empty()).bytes());
            XferResponse answer = asking.answer();
            assertThat(answer.status()).isEqualTo(XferResponse.Status.ERROR);
            assertThat(answer.message()).contains("2 regions, needed are 3");
            asking.ask(new XferMetadata("127.0.0.1", 1, wants, regions, 1, 1, Optional.empty()).bytes());
            answer = asking.answer();
            assertThat(answer.failed()).containsExactly("d");
            assertThat(answer.message()).contains("P num blocks less than D");
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("p"));
        }
    }
}
