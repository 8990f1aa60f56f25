package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.router.backend.Baton;
import dev.baton.router.backend.Nixl;
import dev.baton.router.policy.KvTransferWay;
import java.io.IOException;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// A router that was not told what its engines are finds Batons out by what they say of themselves, and hands
/// over between them as Batons can.
@Timeout(60)
class DetectedBatonsTest {
    private static final String BODY = "{\"prompt\":\"one\",\"max_tokens\":3}";
    private static final String PUSHES =
            "{\"remote_engine_id\":\"e\",\"remote_host\":\"h\",\"remote_port\":1,\"remote_pushes\":true}";
    private static final String PULLS = PUSHES.replace("true", "false"); // a Baton over NIXL
    private static final String OLDER = "{\"remote_engine_id\":\"e\",\"remote_host\":\"h\",\"remote_port\":1}";
    private static final String SILENT = "";

    private static Fleet fleet(UnaryOperator<RouterConfig.Builder> settings) throws IOException {
        Fleet fleet = new Fleet(1, 1, config -> settings.apply(config.kvTransfer(KvTransferWay.PUSH)));
        fleet.prefiller(0).script = call -> call.respond(
                200,
                "application/json",
                "{\"choices\":[{\"text\":\" x\",\"finish_reason\":\"length\"}],\"kv_transfer_params\":{\"remote_engine_id\":"
                        + "\"e\",\"remote_host\":\"h\",\"remote_port\":1,\"remote_pushes\":true,\"remote_block_ids\":[[1]]}}");
        fleet.decoder(0).script = call -> call.respond(200, "application/json", "{\"choices\":[]}");
        return fleet;
    }

    private static void say(Fleet fleet, String prefiller, String decoder) {
        fleet.prefiller(0).peer = prefiller;
        fleet.decoder(0).peer = decoder;
        for (StubEngine engine : fleet.engines()) {
            int before = engine.probes.get();
            await().until(() -> engine.probes.get() > before + 2);
        }
    }

    /// Whether the second of two requests is pushed; the first one may have to say where the prefiller listens.
    private static boolean pushes(Fleet fleet) throws IOException, InterruptedException {
        fleet.complete(BODY);
        fleet.engines().forEach(engine -> engine.received.clear());
        assertThat(fleet.complete(BODY).statusCode()).isEqualTo(200);
        await().until(() ->
                fleet.engines().stream().noneMatch(engine -> engine.received.isEmpty()) && fleet.router.numLegs() == 0);
        boolean pushed = hasTransferId(fleet.prefiller(0));
        assertThat(hasTransferId(fleet.decoder(0))).isEqualTo(pushed);
        return pushed;
    }

    private static boolean hasTransferId(StubEngine engine) {
        return engine.received.element().json().at("/kv_transfer_params").has("transfer_id");
    }

    @Test
    void onlyTwoThatPushAreBatonsAndAnEngineOfAnotherKindAtTheSameAddressIsNoticed() throws Exception {
        try (Fleet fleet = fleet(config -> config)) {
            say(fleet, SILENT, SILENT);
            assertThat(pushes(fleet)).as("vLLM").isFalse();
            say(fleet, PUSHES, SILENT);
            assertThat(pushes(fleet)).as("the decoder is a vLLM").isFalse();
            say(fleet, SILENT, PUSHES);
            assertThat(pushes(fleet)).as("the prefiller is a vLLM").isFalse();
            say(fleet, PUSHES, PUSHES);
            assertThat(pushes(fleet)).as("Batons").isTrue();
            say(fleet, PUSHES, PULLS);
            assertThat(pushes(fleet)).as("the decoder is over NIXL now").isFalse();
            say(fleet, OLDER, PUSHES);
            assertThat(pushes(fleet)).as("the prefiller is an older one now").isFalse();
            say(fleet, PUSHES, PUSHES);
            assertThat(pushes(fleet)).as("Batons again").isTrue();
            say(fleet, PUSHES, SILENT);
            assertThat(pushes(fleet)).as("the decoder is a vLLM now").isFalse();
        }
    }

    @Test
    void aBatonInThePlaceOfAnotherIsNotPushedToByWhatThatOneSaid() throws Exception {
        try (Fleet fleet = fleet(config -> config)) {
            say(fleet, PUSHES, PUSHES);
            assertThat(pushes(fleet)).isTrue();
            say(fleet, PUSHES.replace("\"e\"", "\"f\""), PUSHES);
            fleet.engines().forEach(engine -> engine.received.clear());
            fleet.complete(BODY);
            assertThat(hasTransferId(fleet.prefiller(0)))
                    .as("until it has said where it listens")
                    .isFalse();
            assertThat(pushes(fleet)).isTrue();
        }
    }

    @Test
    void whatTheRouterWasToldHoldsWhateverTheEnginesSay() throws Exception {
        try (Fleet fleet = fleet(config -> config.backend(new Nixl()))) {
            say(fleet, PUSHES, PUSHES);
            assertThat(pushes(fleet)).isFalse();
        }
        try (Fleet fleet = fleet(config -> config.backend(new Baton()))) {
            say(fleet, SILENT, SILENT);
            assertThat(pushes(fleet)).isTrue();
        }
    }

    @Test
    void whatAnEngineThatIsNoneAnyMoreSaidIsPassedOnToNobody() throws Exception {
        try (Fleet fleet = fleet(config -> config)) {
            say(fleet, PUSHES, SILENT);
            say(fleet, SILENT, SILENT);
            say(fleet, SILENT, PUSHES);
            assertThat(fleet.decoder(0).introductions).isEmpty();
            say(fleet, PUSHES, PUSHES);
            await().until(() -> fleet.decoder(0).introductions.size() == 1);
        }
    }
}
