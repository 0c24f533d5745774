/** Keeps the page for a visit without a network. Browsers allow it on https and on localhost; elsewhere nothing happens. */

/**
 * @param {() => void} onKept called once every file is there
 * @param {(use: () => void) => void} onNewer called when a newer build has been fetched; `use` starts it
 */
export async function keepForOffline(onKept, onNewer) {
  if (!("serviceWorker" in navigator)) return;
  const workers = navigator.serviceWorker;
  try {
    const registration = await workers.register("service_worker.js");
    const offer = () => {
      const waiting = registration.waiting;
      if (!waiting || !registration.active) return;
      onNewer(() => {
        workers.addEventListener("controllerchange", () => location.reload(), { once: true });
        waiting.postMessage("take over");
      });
    };
    offer();
    registration.addEventListener("updatefound", () => {
      registration.installing?.addEventListener("statechange", offer);
    });
    await workers.ready;
    onKept();
  } catch (error) {
    console.warn(`not kept for offline use: ${error.message}`);
  }
}
