// A port for a program that cannot choose one by itself.
import { once } from "node:events";
import { createServer } from "node:net";

/** Below the kernel's own choices (net.ipv4.ip_local_port_range): no test beside this one gets it by chance. */
const lowest = 20_000;
const highest = 32_000;

/** A port of 127.0.0.1 that nothing listens on. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest));
    const server = createServer().listen(port, "127.0.0.1");
    const taken = await Promise.race([
      once(server, "listening").then(() => false),
      once(server, "error").then(() => true),
    ]).catch(() => true);
    if (taken) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}
