package dev.baton.launch;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/// A process that starts fake roles on the ports of its arguments, prints a line when they are ready, and waits.
///
/// Arguments: log folder, ports.
final class FakeLauncher {
    private FakeLauncher() {}

    public static void main(String[] args) throws Exception {
        List<Role> roles = new ArrayList<>();
        for (int i = 1; i < args.length; i++) {
            roles.add(new Role(
                    Role.Kind.DECODER,
                    "role" + i,
                    "127.0.0.1",
                    Integer.parseInt(args[i]),
                    "--port",
                    List.of(args[i], "fine"),
                    Map.of()));
        }
        ProcessGroup group = ProcessGroup.start(
                roles,
                JavaCommand.current(FakeRole.class),
                Path.of(args[0]),
                Duration.ofSeconds(5),
                (role, status) -> {});
        group.awaitReady(Duration.ofSeconds(30));
        System.out.println("ready");
        group.awaitEnd();
    }
}
