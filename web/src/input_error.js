/** Something that whoever uses the page can put right: shown in one line, without a stack trace. */
export class InputError extends Error {
  /** @param {string} message what was found and what to do */
  constructor(message) {
    super(message);
    this.name = "InputError";
  }
}
