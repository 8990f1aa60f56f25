package dev.baton.launch;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;

/// An xPyD deployment on one machine: so many prefillers, so many decoders, and a router in front. Immutable.
///
/// Prefillers listen on `prefillerPort`, `prefillerPort + 1`, ...; decoders likewise; ports for KV blocks are
/// left to the system. Engines listen on the loopback interface only. Each engine has a GPU; where there are fewer of
/// them, several share one.
///
/// @param host where the router listens
/// @param model folder of the model
/// @param gpus as `CUDA_VISIBLE_DEVICES` names them; none if engines compute on the CPU
/// @param memoryShare of a GPU's memory for its engines together, from 0 to 1; empty if `engineFlags` say it for each
/// @param engineFlags further flags of every engine
/// @param routerFlags further flags of the router
public record Topology(
        int prefillers,
        int decoders,
        String host,
        int routerPort,
        int prefillerPort,
        int decoderPort,
        Path model,
        List<String> gpus,
        OptionalDouble memoryShare,
        List<String> engineFlags,
        List<String> routerFlags) {
    private static final String LOOPBACK = "127.0.0.1";
    private static final int HIGHEST_PORT = 65_535;

    public Topology {
        if (prefillers < 1 || decoders < 1) {
            throw new LaunchException(
                    "--prefillers and --decoders must be at least 1, got " + prefillers + " and " + decoders + ".");
        }
        checkPorts(routerPort, 1, "--port");
        checkPorts(prefillerPort, prefillers, "--prefiller-port");
        checkPorts(decoderPort, decoders, "--decoder-port");
        gpus = List.copyOf(gpus);
        engineFlags = List.copyOf(engineFlags);
        routerFlags = List.copyOf(routerFlags);
    }

    /// The processes, in the order in which they are to be started.
    public List<Role> roles() {
        List<Role> engines = new ArrayList<>();
        for (int i = 0; i < prefillers; i++) {
            String name = "prefiller" + (i + 1);
            engines.add(engine(
                    Role.Kind.PREFILLER, name, prefillerPort + i, "--prefiller-port", "kv_producer", engines.size()));
        }
        for (int i = 0; i < decoders; i++) {
            String name = "decoder" + (i + 1);
            engines.add(
                    engine(Role.Kind.DECODER, name, decoderPort + i, "--decoder-port", "kv_consumer", engines.size()));
        }
        List<Role> roles = new ArrayList<>(engines);
        roles.add(router(engines));
        return List.copyOf(roles);
    }

    /// How many engines have the GPU of one of them.
    private int sharing(int number) {
        int gpu = number % gpus.size();
        return Math.ceilDiv(prefillers + decoders - gpu, gpus.size());
    }

    /// Flags about the GPU of an engine: those that share one divide what one of them would have of its memory.
    private List<String> memoryFlags(int number) {
        if (gpus.isEmpty() || memoryShare.isEmpty() || sharing(number) == 1) {
            return List.of();
        }
        BigDecimal each = BigDecimal.valueOf(memoryShare.getAsDouble() / sharing(number));
        return List.of("--gpu-memory-utilization="
                + each.setScale(2, RoundingMode.DOWN).toPlainString());
    }

    private Role engine(Role.Kind kind, String name, int port, String portFlag, String kvRole, int number) {
        List<String> arguments = new ArrayList<>(List.of(
                "serve",
                model.toString(),
                "--host",
                LOOPBACK,
                "--port",
                Integer.toString(port),
                "--kv-transfer-config",
                "{\"kv_connector\":\"TcpConnector\",\"kv_role\":\"" + kvRole + "\",\"kv_ip\":\"" + LOOPBACK
                        + "\",\"kv_port\":0}"));
        arguments.addAll(engineFlags);
        arguments.addAll(memoryFlags(number));
        Map<String, String> variables =
                gpus.isEmpty() ? Map.of() : Map.of("CUDA_VISIBLE_DEVICES", gpus.get(number % gpus.size()));
        return new Role(kind, name, LOOPBACK, port, portFlag, arguments, variables);
    }

    private Role router(List<Role> engines) {
        List<String> arguments =
                new ArrayList<>(List.of("router", "--host", host, "--port", Integer.toString(routerPort)));
        for (Role engine : engines) {
            arguments.add(engine.kind() == Role.Kind.PREFILLER ? "--prefiller" : "--decoder");
            arguments.add(engine.address());
        }
        arguments.addAll(routerFlags);
        return new Role(Role.Kind.ROUTER, "router", host, routerPort, "--port", arguments, Map.of());
    }

    private static void checkPorts(int first, int count, String flag) {
        if (first < 1 || first + count - 1 > HIGHEST_PORT) {
            throw new LaunchException("%s %d leaves no room for %d port%s between 1 and %d."
                    .formatted(flag, first, count, count == 1 ? "" : "s", HIGHEST_PORT));
        }
    }
}
