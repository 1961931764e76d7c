// A command's output: kept whole for the resource's outputs and split into lines for the log while it runs.
import { StringDecoder } from "node:string_decoder";

type OutputStream = "stdout" | "stderr";

/** The streams that a `logging` setting lets into the log; not given means both. */
function loggedStreams(logging: string | undefined): readonly OutputStream[] {
  switch (logging ?? "stdoutAndStderr") {
    case "stdoutAndStderr":
      return ["stdout", "stderr"];
    case "stdout":
      return ["stdout"];
    case "stderr":
      return ["stderr"];
    default:
      return [];
  }
}

/** Collects both streams of one command. */
export class CommandOutput {
  readonly #logLine: (line: string) => void;
  readonly #logged: readonly OutputStream[];
  readonly #chunks: { readonly stream: OutputStream; readonly data: Buffer }[] = [];
  readonly #partial: Record<OutputStream, string> = { stdout: "", stderr: "" };
  readonly #decoders = { stdout: new StringDecoder("utf8"), stderr: new StringDecoder("utf8") };

  constructor(logging: string | undefined, logLine: (line: string) => void) {
    this.#logged = loggedStreams(logging);
    this.#logLine = logLine;
  }

  /** Takes a piece of output as it arrives. */
  write(stream: OutputStream, data: Buffer): void {
    this.#chunks.push({ stream, data });
    if (this.#logged.includes(stream)) {
      const lines = (this.#partial[stream] + this.#decoders[stream].write(data)).split("\n");
      this.#partial[stream] = lines.pop() ?? "";
      for (const line of lines) {
        this.#logLine(line.replace(/\r$/, ""));
      }
    }
  }

  /** Logs what is left without a newline; call it when the command has ended. */
  end(): void {
    for (const stream of this.#logged) {
      if (this.#partial[stream] !== "") {
        this.#logLine(this.#partial[stream]);
        this.#partial[stream] = "";
      }
    }
  }

  /** The outputs of the resource: one newline at the end is dropped, as the official provider does. */
  get outputs(): { stdout: string; stderr: string } {
    return {
      stdout: this.#text("stdout").replace(/\n$/, ""),
      stderr: this.#text("stderr").replace(/\n$/, ""),
    };
  }

  /** A failed command's error: with the command and everything it printed, as the official provider's. */
  failure(reason: string, command: string): Error {
    return new Error(`${reason}: running ${JSON.stringify(command)}:\n${this.#text()}`);
  }

  #text(only?: OutputStream): string {
    const chunks = this.#chunks.filter(({ stream }) => only === undefined || stream === only);
    return Buffer.concat(chunks.map(({ data }) => data)).toString("utf8");
  }
}
