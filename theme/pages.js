// Keyboard use of the pages, where mdBook's own script falls short.

// What scrolls sideways must be reachable with the keyboard, and there the arrows must scroll and not turn mdBook's page.
for (const region of document.querySelectorAll("main .table-wrapper, main div.output, main math[display=block]")) {
    region.addEventListener("keydown", event => event.target === region && event.stopPropagation());
    new ResizeObserver(() => {
        if (region.scrollWidth > region.clientWidth + 1) {
            region.setAttribute("tabindex", "0");
        } else {
            region.removeAttribute("tabindex");
        }
    }).observe(region);
}

// mdBook's button for the sidebar is a bare <label>.
const sidebarToggle = document.getElementById("mdbook-sidebar-toggle");
sidebarToggle.setAttribute("role", "button");
sidebarToggle.setAttribute("tabindex", "0");
sidebarToggle.addEventListener("keydown", event => {
    if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        sidebarToggle.click();
    }
});
