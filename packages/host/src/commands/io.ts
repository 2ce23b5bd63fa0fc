/** What a command gets from whoever runs it, so that it can be tested without a terminal. */
export interface CommandIo {
  stdout(text: string): void;
  stderr(text: string): void;
  readonly json: boolean;
  readonly signal: AbortSignal;
}

export interface HomeOption {
  /** The state folder, absolute. */
  readonly home: string;
}

export const defaultHome = "/var/lib/exai";
