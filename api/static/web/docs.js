// Starts Swagger UI on /docs. `validatorUrl: null`: nothing is sent to another host.
const { SwaggerUIBundle } = /** @type {any} */ (window);
SwaggerUIBundle({
  // Beside the folder of static files, wherever that is: …/static/HASH/web/docs.js.
  url: new URL("../../../openapi.json", /** @type {HTMLScriptElement} */ (document.currentScript).src).href,
  dom_id: "#swagger-ui",
  validatorUrl: null,
  deepLinking: true,
  tryItOutEnabled: true,
  requestInterceptor: (/** @type {any} */ request) => {
    const meta = document.querySelector('meta[name="csrf"]');
    if (meta instanceof HTMLMetaElement) request.headers["X-CSRF-Token"] = meta.content;
    return request;
  },
});
