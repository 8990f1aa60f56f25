package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.discovery.AllowedEngines;
import dev.baton.http.ApiKeys;
import dev.baton.http.Json;
import java.net.Socket;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import tools.jackson.databind.JsonNode;

/// An engine is said to be drained when no request needs it any more, also while none has a leg there.
@Timeout(60)
class RouterDrainTest {
    private static final String STREAM = "{\"prompt\":\"x\",\"max_tokens\":3,\"stream\":true}";

    private final CountDownLatch prefill = new CountDownLatch(1);
    private final CountDownLatch firstEvent = new CountDownLatch(1);
    private final CountDownLatch rest = new CountDownLatch(1);

    private static Fleet fleet(int numPrefillers, int numDecoders) throws Exception {
        return new Fleet(
                numPrefillers,
                numDecoders,
                config -> config.fleet(new FleetConfig(ApiKeys.none(), true, AllowedEngines.privateNetworks())));
    }

    private static void drain(Fleet fleet, StubEngine engine) throws Exception {
        HttpResponse<String> answer = fleet.post("/instances/drain", "{\"address\":\"" + engine.address() + "\"}");
        assertThat(answer.statusCode()).isEqualTo(200);
    }

    private static JsonNode instance(Fleet fleet, StubEngine engine) throws Exception {
        JsonNode answer = Json.parse(fleet.get("/instances").body().getBytes(StandardCharsets.UTF_8));
        for (JsonNode node : answer.path("instances")) {
            if (node.path("address").asString("").equals(engine.address().toString())) {
                return node;
            }
        }
        throw new AssertionError("no " + engine.address() + " in " + answer);
    }

    private static boolean drained(Fleet fleet, StubEngine engine) throws Exception {
        return instance(fleet, engine).path("drained").asBoolean();
    }

    private static void hold(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static CompletableFuture<HttpResponse<String>> start(Fleet fleet) {
        return fleet.client.sendAsync(
                fleet.request("/v1/completions")
                        .header("content-type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(STREAM))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    @Test
    void enginesOfARequestAreNotDrainedBetweenItsLegs() throws Exception {
        try (Fleet fleet = fleet(1, 1)) {
            StubEngine prefiller = fleet.prefiller(0);
            StubEngine decoder = fleet.decoder(0);
            prefiller.script = call -> {
                hold(prefill);
                StubEngine.prefill(call);
            };
            decoder.script = call -> {
                hold(firstEvent);
                call.startEvents();
                call.event("{\"choices\":[{\"index\":0,\"text\":\"a\"}]}");
                hold(rest);
                call.event("[DONE]");
                call.endEvents();
            };
            CompletableFuture<HttpResponse<String>> answer = start(fleet);
            await().until(() -> !prefiller.received.isEmpty());
            drain(fleet, decoder);
            drain(fleet, prefiller);
            assertThat(instance(fleet, decoder).path("requests_in_flight").asInt(-1))
                    .as("legs at the decoder")
                    .isZero();
            assertThat(drained(fleet, decoder)).as("decoder during the prefill").isFalse();

            prefill.countDown();
            await().until(() -> !decoder.received.isEmpty());
            await().until(() ->
                    instance(fleet, prefiller).path("requests_in_flight").asInt(-1) == 0);
            assertThat(drained(fleet, prefiller))
                    .as("prefiller while the decoder fetches")
                    .isFalse();

            firstEvent.countDown();
            await().until(() -> drained(fleet, prefiller));
            assertThat(drained(fleet, decoder)).as("decoder in its stream").isFalse();

            rest.countDown();
            assertThat(answer.get().body()).endsWith("data: [DONE]\n\n");
            await().until(() -> drained(fleet, decoder));
        }
    }

    @Test
    void requestWhoseClientLeavesLetsGoOfItsEngines() throws Exception {
        try (Fleet fleet = fleet(1, 1)) {
            fleet.prefiller(0).script = StubEngine.Call::stall;
            Socket client = fleet.startRaw(STREAM);
            await().until(() -> !fleet.prefiller(0).received.isEmpty());
            drain(fleet, fleet.decoder(0));
            assertThat(drained(fleet, fleet.decoder(0))).isFalse();
            client.close();
            await().until(() -> drained(fleet, fleet.decoder(0)));
        }
    }

    /// The first decoder is let go of, while the prefiller stays bound for the second one.
    @Test
    void prefillerStaysBoundWhileAnotherDecoderFetches() throws Exception {
        try (Fleet fleet = fleet(1, 2)) {
            StubEngine.Script works = fleet.decoder(1).script;
            fleet.decoder(0).script = call -> call.respond(503, "application/json", "{}");
            fleet.decoder(1).script = call -> {
                hold(firstEvent);
                works.answer(call);
            };
            CompletableFuture<HttpResponse<String>> answer = start(fleet);
            await().until(() -> !fleet.decoder(1).received.isEmpty());
            drain(fleet, fleet.prefiller(0));
            drain(fleet, fleet.decoder(0));
            assertThat(fleet.decoder(0).received).hasSize(1);
            assertThat(drained(fleet, fleet.decoder(0))).isTrue();
            assertThat(drained(fleet, fleet.prefiller(0))).isFalse();
            firstEvent.countDown();
            assertThat(answer.get().statusCode()).isEqualTo(200);
            await().until(() -> drained(fleet, fleet.prefiller(0)));
        }
    }
}
