// Keyboard use of the pages, where mdBook's own script falls short.

// mdBook turns the page on an arrow key; inside a figure or a wide table the arrows belong to that.
for (const region of document.querySelectorAll("main .output, main .table-wrapper, main math[display=block]")) {
    region.addEventListener("keydown", event => event.stopPropagation());
    // What scrolls must be reachable with the keyboard.
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
