package dev.baton.cli;

import dev.baton.launch.Role;
import dev.baton.launch.RoleListener;
import dev.baton.launch.RoleStatus;
import java.io.PrintWriter;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// Shows one line a role while a deployment starts, and every death after that.
///
/// On a terminal the lines are redrawn in place; otherwise each change is a line of its own. Thread-safe.
final class StatusBoard implements RoleListener {
    private static final String CLEAR_LINE = "\r\033[2K";

    private final PrintWriter out;
    private final boolean isTerminal;
    private final Map<Role, RoleStatus> lines = new LinkedHashMap<>();
    private int drawnLines;
    private boolean isStarting = true;

    StatusBoard(PrintWriter out, boolean isTerminal) {
        this.out = out;
        this.isTerminal = isTerminal;
    }

    @Override
    public synchronized void onStatus(Role role, RoleStatus status) {
        lines.put(role, status);
        if (isStarting) {
            if (isTerminal) {
                redraw();
            } else if (!(status instanceof RoleStatus.Stopped)) {
                out.println(line(role, status));
            }
        } else if (status instanceof RoleStatus.Died died) {
            out.printf("%s died (%s).%s%n", role.name(), exit(died.exitCode()), consequence(role));
            printLog(out, died.logTail());
        }
    }

    /// From now on only deaths are shown.
    synchronized void started() {
        isStarting = false;
    }

    static void printLog(PrintWriter out, List<String> tail) {
        tail.forEach(line -> out.println("  | " + line));
    }

    private void redraw() {
        StringBuilder text = new StringBuilder();
        if (drawnLines > 0) {
            text.append("\033[%dA".formatted(drawnLines)); // cursor up
        }
        lines.forEach((role, status) ->
                text.append(CLEAR_LINE).append(line(role, status)).append('\n'));
        drawnLines = lines.size();
        out.print(text);
        out.flush();
    }

    private static String line(Role role, RoleStatus status) {
        String what = switch (status) {
            case RoleStatus.Starting _ -> role.kind() == Role.Kind.ROUTER ? "starting ..." : "loading model ...";
            case RoleStatus.Ready ready ->
                "ready in %.1f s".formatted(ready.after().toMillis() / 1000.0);
            case RoleStatus.Died died -> "died (" + exit(died.exitCode()) + ")";
            case RoleStatus.Stopped _ -> "stopped";
        };
        return String.format(Locale.ROOT, "%-12s :%-6d %s", role.name(), role.port(), what);
    }

    private static String exit(int code) {
        return code > 128 ? "signal " + (code - 128) : "exit code " + code;
    }

    private String consequence(Role role) {
        boolean othersLive = lines.entrySet().stream()
                .anyMatch(entry -> entry.getKey().kind() == role.kind()
                        && (entry.getValue() instanceof RoleStatus.Ready
                                || entry.getValue() instanceof RoleStatus.Starting));
        return switch (role.kind()) {
            case PREFILLER -> othersLive ? " The other prefillers go on." : " The decoders compute the prompts now.";
            case DECODER -> othersLive ? " The other decoders go on." : " New requests are refused with 503.";
            case ROUTER -> " Nothing can be reached any more.";
        };
    }
}
